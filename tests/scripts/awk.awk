# Associative arrays, strings, splitting, sorting by hand.
BEGIN {
    for (i = 1; i <= 50000; i++) { count["w" (i * 7919 % 1009)]++; text = text " " i % 10 }
    n = 0; for (word in count) n += count[word]
    print n, length(text)
    gsub(/7/, "seven", text); print length(text)
    m = split(text, parts, " "); print m, parts[m]
    for (i = 0; i < 300; i++) for (j = 0; j < 30; j++) grid[i, j] = i * j
    total = 0; for (key in grid) { split(key, ij, SUBSEP); total += grid[key] - ij[1] * ij[2] }
    print total
    while (("seq 1 2000" | getline line) > 0) sum += line
    print sum
    print toupper(sprintf("%05d|%s|%.3f", 42, "abc", 3.14159))
}
