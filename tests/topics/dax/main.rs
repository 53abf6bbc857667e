//! Pools, and programs with the library preloaded, on what ordinary machines lack: persistent memory with a DAX
//! file system, device DAX, several NUMA nodes, reserved huge pages, disk quotas.
//!
//! Started on an ordinary machine this program builds what it needs, boots one virtual machine that has all of that
//! (see `tests/dax-vm`), and runs itself again in there. When there is no way to a virtual machine it says so and
//! exits with 77: nothing was checked then.
//!
//! Each test is a process of its own, because what is looked for are signals.

mod cache;
mod fork;
mod huge;
mod media;
mod medium;
mod nodes;
mod place;
mod preload;
mod process;
mod quota;
mod room;
mod vm;
mod vmem_pools;
mod work;

use std::env;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use pmem_e2e::run::run;

/// Time limit of a test; most take a second or two in emulation, and ten times as long on a busy machine.
const LIMIT: Duration = Duration::from_secs(200);
/// Argument before the name of a test that this process is to run itself.
const ALONE: &str = "--alone";

/// A test: its name, and what it does.
type Test = (&'static str, fn());

macro_rules! tests {
    ($($module:ident::$name:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name),)*]
    };
}

/// Every test, those first that leave file systems as they are.
const TESTS: &[Test] = tests![
    media::sizes_and_addresses_are_multiples_of_the_granule,
    media::blocks_keep_their_bytes_through_all_operations,
    media::four_threads_share_a_pool,
    media::memory_with_old_content_reads_as_zero_where_zeros_are_asked_for,
    media::a_full_pool_is_none_and_can_be_filled_again,
    media::a_pool_larger_than_its_place_is_refused_in_words,
    media::a_place_in_use_is_refused_in_words,
    fork::both_sides_keep_their_bytes_and_go_on_allocating,
    fork::a_pool_with_a_head_forks,
    fork::an_empty_pool_forks,
    fork::a_child_can_fill_its_pool,
    room::a_full_file_system_is_none_and_no_signal,
    room::what_another_file_leaves_is_used_and_no_more,
    room::freed_memory_goes_back_to_the_file_system,
    nodes::blocks_lie_on_the_node_they_are_bound_to,
    nodes::a_full_preferred_node_is_followed_by_others,
    nodes::interleaved_blocks_are_spread_evenly,
    nodes::nodes_without_memory_are_refused_in_words,
    huge::blocks_lie_in_huge_pages_until_these_run_out,
    huge::huge_pages_go_back_to_the_system,
    huge::more_huge_pages_than_there_are_cannot_be_preallocated,
    huge::advised_pools_on_tmpfs_are_served_in_huge_pages,
    preload::programs_print_the_same_on_ext4,
    preload::programs_print_the_same_on_xfs,
    preload::the_heap_of_a_program_forks_on_dax,
    preload::a_full_file_system_is_enomem,
    preload::a_device_is_refused_as_a_directory,
    medium::the_heap_of_a_program_is_on_its_nodes,
    medium::a_full_bound_node_is_enomem_and_a_preferred_one_is_followed_by_others,
    medium::programs_fork_on_nodes_and_devices,
    medium::the_heap_of_a_program_is_on_the_device,
    medium::a_device_serves_the_first_process_of_a_tree,
    medium::a_child_does_not_keep_the_device,
    medium::a_device_in_use_is_refused_in_words,
    medium::the_launcher_names_what_is_wrong_with_nodes_and_devices,
    vmem_pools::the_contract_holds_on_ext4,
    vmem_pools::the_contract_holds_on_xfs,
    vmem_pools::a_device_is_a_pool_as_a_whole,
    cache::entries_come_and_go_in_dax_memory,
    cache::a_device_is_a_cache_as_a_whole,
    cache::entries_are_found_again_in_a_dax_file,
    cache::a_full_dax_file_system_is_an_error_when_the_cache_is_made,
    quota::a_quota_of_ext4_is_none_and_no_signal,
    quota::a_quota_of_xfs_is_none_and_no_signal,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == ALONE
    {
        let (_, test) = TESTS.iter().find(|(known, _)| known == name).expect("a test of the list");
        test();
        return ExitCode::SUCCESS;
    }
    // What is left are filters, as for other test programs, whose options mean nothing here.
    let filters: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    if vm::is_inside() { run_all(&filters) } else { vm::boot(&filters) }
}

/// Runs the tests whose names contain one of `filters` (all, without any) and says so in the words of Rust's own test
/// programs.
fn run_all(filters: &[&str]) -> ExitCode {
    let chosen: Vec<&Test> = TESTS
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|part| name.contains(part)))
        .collect();
    println!("{}{} tests", vm::GREETING, chosen.len());
    let own = env::current_exe().expect("the path of this program");
    let start = Instant::now();
    let mut failed = Vec::new();
    for (name, _) in &chosen {
        let outcome = run(Command::new(&own).args([ALONE, name]), LIMIT);
        let passed = outcome.code() == Some(0);
        let word = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {word}");
        if passed {
            print!("{}", outcome.out());
        }
        println!("        {:.1} s", outcome.wall.as_secs_f64());
        if !passed {
            println!("{name}: {}", outcome.ending());
            failed.push(name);
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        chosen.len() - failed.len(),
        failed.len(),
        TESTS.len() - chosen.len(),
        start.elapsed().as_secs_f64(),
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
