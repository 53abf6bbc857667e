//! The fork matrix: every mode, with and without threads, nested, with exec, with hostile surroundings.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pmem_e2e::artifact::{Shape, compile, library, program, shared};
use pmem_e2e::cases::Cases;
use pmem_e2e::mount::Mount;
use pmem_e2e::preload::Pool;
use pmem_e2e::run::{Outcome, SHORT, run};

const LIMIT: Duration = Duration::from_secs(90);

/// A pool in which the cases that wait for the decay need not wait long.
fn pool(mode: u8) -> Pool {
    Pool::lazy(64).fork(mode).set("VMMALLOC_PURGE_MS", "100")
}

/// This case removes the directory: the others need a pool of their own.
const REMOVES_DIRECTORY: &str = "the_pool_directory_is_removed";

/// This case needs a file system without room.
const REFUSED: &str = "a_refused_fork_leaves_no_lock_to_a_handler";

/// These cases fork without the C library's handlers.
fn is_raw(name: &str) -> bool {
    name.starts_with("a_raw_fork_")
}

/// These cases close the descriptors of the pool.
fn closes_descriptors(name: &str) -> bool {
    name.starts_with("all_descriptor")
}

/// Everything else, in which parent and child must not see each other.
fn isolates(pool: &Pool) {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT);
    cases
        .only(|name| {
            ![REMOVES_DIRECTORY, REFUSED].contains(&name)
                && !is_raw(name)
                && !closes_descriptors(name)
        })
        .run(pool);
}

#[test]
fn mode_0_shares_the_data() {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| name.starts_with("any_") || name == "exec_target").run(&pool(0));
}

#[test]
fn mode_1_isolates() {
    isolates(&pool(1));
}

/// Pages go back and forth all the time.
#[test]
fn mode_1_isolates_while_the_heap_comes_home_at_once() {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT);
    let chosen = |name: &str| {
        !is_raw(name)
            && ["isolated", "load", "nested", "threads", "gives_back"]
                .iter()
                .any(|part| name.contains(part))
    };
    cases.only(chosen).run(&pool(1).set("VMMALLOC_HOME_MS", "4"));
}

#[test]
fn mode_1_isolates_a_preallocated_pool() {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT);
    let chosen =
        |name: &str| name.contains("isolated") || name.contains("nested") || name.contains("keeps");
    cases.only(chosen).run(&Pool::prealloc(64).fork(1));
}

#[test]
fn mode_2_isolates() {
    isolates(&pool(2));
}

#[test]
fn mode_3_isolates() {
    isolates(&pool(3));
}

/// closefrom and close_range: daemons do it, and then fork. The pool's descriptors are gone, or, worse,
/// their numbers belong to other files.
#[test]
fn closed_descriptors() {
    let program = program("fork");
    for mode in 1..=3 {
        Cases::of(&program).limit(LIMIT).only(closes_descriptors).run(&pool(mode));
    }
}

/// `_Fork` and raw clone run no handlers: the child must find out by itself.
#[test]
fn raw_forks() {
    let program = program("fork");
    for mode in 0..=3 {
        Cases::of(&program).limit(LIMIT).only(is_raw).run(&pool(mode));
    }
}

/// Without the variable the mode is 1.
#[test]
fn the_default_isolates() {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT);
    cases.only(|name| name.starts_with("parent_and_child_")).run(&Pool::lazy(64));
}

/// `VMMALLOC_FORK=2` says so and aborts when there is no second pool to be had; it does not hang.
fn refused_to_clone(outcome: &Outcome) {
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome}");
    assert_eq!(outcome.err(), "Error (libvmmalloc): pool cloning failed\n\n", "{outcome}");
}

/// Whether a file can be made in a directory that was removed is up to the file system.
#[test]
fn mode_2_without_its_directory_isolates_or_aborts() {
    let outcome = run(pool(2).command(program("fork")).arg(REMOVES_DIRECTORY), SHORT);
    if outcome.code() != Some(0) {
        refused_to_clone(&outcome);
    }
}

#[test]
fn modes_1_and_3_without_their_directory_isolate() {
    let program = program("fork");
    let cases = Cases::of(&program).limit(LIMIT).only(|name| name == REMOVES_DIRECTORY);
    for mode in [1, 3] {
        cases.run(&pool(mode));
    }
}

#[test]
fn without_room_for_a_second_pool() {
    let Some(mount) = Mount::tmpfs(32, "a file system with room for one pool only") else { return };
    let case = "fork_with_twelve_mib_in_use";
    let pool = Pool::prealloc(24).fork(2).at(mount.path());
    refused_to_clone(&run(pool.command(program("fork")).arg(case), SHORT));
    let handled = run(pool.command(program("fork")).arg(REFUSED), SHORT);
    assert_eq!(handled.code(), Some(7), "{handled}");
    let program = program("fork");
    for mode in [1, 3] {
        let cases = Cases::of(&program).only(|name| name == case).limit(LIMIT);
        cases.run(&Pool::prealloc(24).fork(mode).at(mount.path()));
    }
}

/// The directory was given by a relative name, and the program has gone elsewhere since.
#[test]
fn a_relative_directory_and_chdir() {
    for mode in 1..=3 {
        let pool = pool(mode).at(".");
        let scratch = pmem_e2e::scratch::Scratch::in_memory("relative");
        Cases::of(&program("fork")).only(|name| name == "the_working_directory_changes").run_with(
            |command| {
                pool.preload(command).current_dir(scratch.path());
            },
        );
    }
}

/// Where other libraries' allocating fork handlers come from.
fn with_handlers(mode: u8, program: &Path, prepare: impl Fn(&mut Command)) {
    let pool = pool(mode);
    Cases::of(program).limit(LIMIT).only(|name| name == "handlers_of_a_present_library").run_with(
        |command| {
            pool.preload(command);
            prepare(command);
        },
    );
}

fn preload_both(command: &mut Command, first: &Path, second: &Path) {
    command.env("LD_PRELOAD", format!("{}:{}", first.display(), second.display()));
}

#[test]
fn handlers_of_a_linked_library() {
    let handlers = shared("atfork_lib");
    let handlers = handlers.to_str().expect("a readable path");
    let linked =
        compile("atfork", "atfork_linked", Shape::Program, &["-Wl,--no-as-needed", handlers]);
    for mode in 1..=3 {
        with_handlers(mode, &linked, |_| {});
    }
}

#[test]
fn handlers_of_a_library_preloaded_before_ours() {
    for mode in 1..=3 {
        with_handlers(mode, &program("atfork"), |command| {
            preload_both(command, &shared("atfork_lib"), library());
        });
    }
}

#[test]
fn handlers_of_a_library_preloaded_after_ours() {
    for mode in 1..=3 {
        with_handlers(mode, &program("atfork"), |command| {
            preload_both(command, library(), &shared("atfork_lib"));
        });
    }
}

#[test]
fn handlers_of_a_library_opened_later() {
    let handlers = shared("atfork_lib");
    let program = program("atfork");
    for mode in 1..=3 {
        Cases::of(&program)
            .limit(LIMIT)
            .argument(&handlers)
            .only(|name| name == "handlers_of_an_opened_library")
            .run(&pool(mode));
    }
}
