# Command substitution, pipes, arrays, associative arrays, string work, here documents.
set -u

declare -A count
words=()
seed=42
for ((i = 0; i < 15000; i++)); do
    seed=$(((seed * 1103515245 + 12345) & 0x7fffffff))
    word="w$((seed % 997))"
    words+=("$word")
    count[$word]=$((${count[$word]:-0} + 1))
done
printf '%s\n' "${!count[@]}" | sort | head -5
for word in $(printf '%s\n' "${!count[@]}" | sort | head -20); do
    printf '%s=%d ' "$word" "${count[$word]}"
done
echo

# Each substitution forks; the parent's arrays are large by then.
total=0
for ((i = 0; i < 150; i++)); do
    n=$(printf '%s\n' "${words[@]:i*10:10}" | sort -u | wc -l)
    total=$((total + n))
done
echo "distinct in groups: $total"

text=""
for ((i = 0; i < 3000; i++)); do
    text+="${words[i]},"
done
echo "length ${#text}, replaced ${#text} -> $(t=${text//w1/long-word-}; echo ${#t})"
reversed=()
for ((i = ${#words[@]} - 1; i >= 0; i--)); do reversed+=("${words[i]}"); done
echo "first and last: ${reversed[0]} ${reversed[-1]} of ${#reversed[@]}"

while read -r line; do
    [[ $line =~ ^w([0-9]+)$ ]] && last=${BASH_REMATCH[1]}
done < <(printf '%s\n' "${words[@]}")
echo "last number: $last"
(sleep 0.01; echo "from a subshell") &
wait
cat <<EOF | tr a-z A-Z
here document with $(echo substitution) and ${words[7]}
EOF
