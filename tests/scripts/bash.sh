# Command substitution, pipes, arrays, here-documents, subshells, job control, process substitution, traps.
set -m
echo "$(echo outer $(echo inner $(echo innermost)))"
words=$(for i in {1..300}; do echo "word$i"; done | sort | tr '\n' ' ')
echo "${#words} ${words: -20}"
declare -A table
for i in {1..2000}; do table[key$i]=$((i * i)); done
sum=0
for key in "${!table[@]}"; do sum=$((sum + table[$key])); done
echo "sum $sum of ${#table[@]}"
(cd / && pwd && exit 3)
echo "subshell said $?"
sleep 0.05 & first=$!
(sleep 0.02; exit 7) & second=$!
wait $second; echo "second said $?"
wait $first; echo "first said $?"
sleep 1000 & job=$!
kill -STOP $job; wait $job; echo "stopped: $?"
kill -CONT $job; kill %%
code=147; while [ $code = 147 ]; do wait $job; code=$?; done
echo "job said $code"
diff <(seq 1 100) <(seq 1 100) && echo "same"
cat <<END | while read -r a b; do echo "$b-$a"; done
one two
three four
END
trap 'echo trapped' USR1
kill -USR1 $$
text=; for i in {1..500}; do text+="line $i "; done
echo "${text//line/LINE}" | cksum
printf '%s\n' {a..e}{1..3} | grep -c '[ace]2'
mapfile -t lines < <(seq 1 5000)
echo "${#lines[@]} ${lines[4999]}"
coproc CAT { cat; }
echo "through a coprocess" >&"${CAT[1]}"
read -r back <&"${CAT[0]}"
echo "$back"
