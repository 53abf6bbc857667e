/* Every function of libpmem2 in the older node, too: programs linked with 1.x ask for it there. */
#if defined(__x86_64__)
#define JUMP jmp
#elif defined(__aarch64__)
#define JUMP b
#else
#error "no jump for this architecture"
#endif

.macro old name
	.globl old_\name
	.type old_\name, %function
old_\name:
	JUMP \name
	.size old_\name, . - old_\name
	.symver old_\name, \name@LIBPMEM2_1.0
.endm

	.text
	old pmem2_badblock_clear
	old pmem2_badblock_context_delete
	old pmem2_badblock_context_new
	old pmem2_badblock_next
	old pmem2_config_delete
	old pmem2_config_new
	old pmem2_config_set_length
	old pmem2_config_set_offset
	old pmem2_config_set_protection
	old pmem2_config_set_required_store_granularity
	old pmem2_config_set_sharing
	old pmem2_config_set_vm_reservation
	old pmem2_deep_flush
	old pmem2_errormsg
	old pmem2_get_drain_fn
	old pmem2_get_flush_fn
	old pmem2_get_memcpy_fn
	old pmem2_get_memmove_fn
	old pmem2_get_memset_fn
	old pmem2_get_persist_fn
	old pmem2_map_delete
	old pmem2_map_from_existing
	old pmem2_map_get_address
	old pmem2_map_get_size
	old pmem2_map_get_store_granularity
	old pmem2_map_new
	old pmem2_perror
	old pmem2_source_alignment
	old pmem2_source_delete
	old pmem2_source_device_id
	old pmem2_source_device_usc
	old pmem2_source_from_anon
	old pmem2_source_from_fd
	old pmem2_source_get_fd
	old pmem2_source_numa_node
	old pmem2_source_pread_mcsafe
	old pmem2_source_pwrite_mcsafe
	old pmem2_source_size
	old pmem2_vm_reservation_delete
	old pmem2_vm_reservation_extend
	old pmem2_vm_reservation_get_address
	old pmem2_vm_reservation_get_size
	old pmem2_vm_reservation_map_find
	old pmem2_vm_reservation_map_find_first
	old pmem2_vm_reservation_map_find_last
	old pmem2_vm_reservation_map_find_next
	old pmem2_vm_reservation_map_find_prev
	old pmem2_vm_reservation_new
	old pmem2_vm_reservation_shrink

	.section .note.GNU-stack, "", %progbits
