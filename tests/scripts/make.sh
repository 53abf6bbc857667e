# A project of 12 files built by two jobs at a time, then changed and built again.
set -e
{
    echo 'objects := $(patsubst %,f%.o,1 2 3 4 5 6 7 8 9 10 11 12)'
    echo 'prog: main.o $(objects)'
    printf '\t@$(CC) -o $@ $^\n'
    echo '%.o: %.c all.h'
    printf '\t@$(CC) -O1 -c -o $@ $<\n'
} > Makefile
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "int f$i(int);" >> all.h
    printf '#include "all.h"\nint f%d(int x) { return x * %d + 1; }\n' $i $i > f$i.c
    calls="$calls + f$i($i)"
done
printf '#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", 0%s); return 0; }\n' "$calls" > main.c
make -s -j2
./prog
touch f3.c
make -j2 -n prog | wc -l
make -s -j2
./prog
make -q prog && echo "up to date"
