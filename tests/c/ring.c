/* MPI: blocks of the heap go round a ring of processes, and are summed. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    unsigned long long sum = 0;
    for (int round = 0; round < 200; round++) {
        int length = 1 + (round * 7919) % 60000;
        unsigned *out = malloc(sizeof *out * length), *in = malloc(sizeof *in * length);
        for (int i = 0; i < length; i++)
            out[i] = (unsigned)(i * (rank + 1) + round);
        MPI_Sendrecv(out, length, MPI_UNSIGNED, (rank + 1) % size, 0, in, length, MPI_UNSIGNED,
                     (rank + size - 1) % size, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int i = 0; i < length; i++)
            sum += in[i];
        free(out);
        free(in);
    }
    unsigned long long all = 0;
    MPI_Reduce(&sum, &all, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%d processes, sum %llu\n", size, all);
    MPI_Finalize();
    return 0;
}
