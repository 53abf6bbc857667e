# Counts, joins and splits over a large input.
{
    n = split($0, part, /[ ,]+/)
    for (i = 1; i <= n; i++) {
        count[part[i]]++
        last[part[i]] = $1
    }
    line[NR % 5000] = $2 " " $0
}
END {
    for (word in count) {
        words++
        sum += count[word] * length(word)
        if (length(last[word]) > widest) widest = length(last[word])
    }
    for (i = 0; i < 5000; i++) {
        gsub(/[aeiou]/, "<&>", line[i])
        text = text substr(line[i], 1, 20)
    }
    print words, sum, widest, length(text)
    print substr(text, 1, 200)
}
