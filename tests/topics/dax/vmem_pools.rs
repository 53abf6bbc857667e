//! Pools of C programs: libvmem.so.1 on DAX.

use std::path::Path;
use std::time::Duration;

use pmem_e2e::capi::{self, Build};
use pmem_e2e::cases::Cases;

use crate::place::{device, device_size, ext4, xfs};

const LIMIT: Duration = Duration::from_secs(90);

/// What the medium could make a difference to.
const CHOSEN: &[&str] = &[
    "create_success_leaves_errno_and_text_alone",
    "reading_the_handle_faults_and_the_handler_can_delete",
    "a_pool_is_a_shared_mapping_of_an_unnamed_file_without_descriptor",
    "check_is_one_for_a_sound_pool",
    "failures_set_enomem_and_no_text",
    "realloc_keeps_content",
    "aligned_alloc_takes_powers_of_two_only",
    "usable_size_is_what_may_be_used",
    "any_thread_may_free_any_block",
    "a_child_allocates_without_harm_to_the_parent",
];

fn the_contract_holds_on(place: &Path) {
    let program = capi::program("vmem");
    for build in Build::ALL {
        let chosen = |name: &str| CHOSEN.contains(&name);
        Cases::of(&program).limit(LIMIT).only(chosen).argument(place).run_with(|command| {
            build.choose(command);
        });
    }
}

pub(crate) fn the_contract_holds_on_ext4() {
    the_contract_holds_on(&ext4());
}

pub(crate) fn the_contract_holds_on_xfs() {
    the_contract_holds_on(&xfs());
}

pub(crate) fn a_device_is_a_pool_as_a_whole() {
    let program = capi::program("vmem_device");
    let (device, size) = (device(), device_size().to_string());
    for build in Build::ALL {
        let cases = Cases::of(&program).limit(LIMIT).argument(&device).argument(&size);
        cases.run_with(|command| {
            build.choose(command);
        });
    }
}
