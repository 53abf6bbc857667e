/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libpmem2: persistent memory by sources, maps and granularities. See libpmem2(7). */
#ifndef LIBPMEM2_H
#define LIBPMEM2_H 1

#include <libpmem2/base.h>

#endif /* LIBPMEM2_H */
