/* quota DEVICE UID MIB: limits what a user may store on an ext4 made with the quota feature. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/quota.h>

int main(int argc, char **argv)
{
    struct dqblk limits;
    if (argc != 4)
        return 2;
    memset(&limits, 0, sizeof limits);
    limits.dqb_bhardlimit = limits.dqb_bsoftlimit = strtoull(argv[3], NULL, 10) << 10;
    limits.dqb_valid = QIF_BLIMITS;
    if (quotactl(QCMD(Q_SETQUOTA, USRQUOTA), argv[1], atoi(argv[2]), (void *)&limits) != 0) {
        fprintf(stderr, "quotactl: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
