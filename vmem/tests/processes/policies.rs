//! The environment of a global allocator, and what it does when its pool cannot be made.

use crate::example::{example, run, text_of};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// The example whose heap is in a pool, with these variables.
fn with(variables: &[(&str, &str)]) -> Command {
    let mut command = example("global");
    command.envs(variables.iter().copied());
    command
}

/// The program aborts, and this is all it says.
fn aborts_with(variables: &[(&str, &str)], line: &str) {
    let output = run(&mut with(variables));
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{variables:?}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), line, "{variables:?}");
    assert!(output.stdout.is_empty(), "it does not start");
}

#[test]
fn the_environment_moves_the_pool() {
    let text = text_of(with(&[
        ("VMEM_ALLOC_DIR", "/dev/shm"),
        ("VMEM_ALLOC_SIZE", "100M"),
        ("VMEM_ALLOC_SPACE", "prealloc"),
        ("VMEM_ALLOC_PURGE_MS", "off"),
        ("VMEM_ALLOC_HUGEPAGE", "advise"),
        ("VMEM_ALLOC_DUMP", "0"),
    ]));
    assert!(text.contains("pool bytes:         104857600\n"), "{text}");
    assert!(text.contains("committed bytes:    104857600\n"), "{text}");
}

#[test]
fn empty_variables_count_as_not_set() {
    let text = text_of(with(&[("VMEM_ALLOC_DIR", ""), ("VMEM_ALLOC_SIZE", "")]));
    assert!(text.contains("pool bytes:         1073741824\n"), "{text}");
}

#[test]
fn directories_that_do_not_do() {
    let file = file!();
    let place = "vmem: cannot make the pool of 1073741824 bytes in the directory";
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let file = file.to_str().unwrap();
    aborts_with(
        &[("VMEM_ALLOC_DIR", "/nowhere")],
        &format!(
            "{place} /nowhere: open: No such file or directory; \
             make the directory, or name one that exists\n"
        ),
    );
    aborts_with(
        &[("VMEM_ALLOC_DIR", file)],
        &format!("{place} {file}: open: Not a directory; name a directory, not a file\n"),
    );
    let long = "/dev/shm/".repeat(500);
    aborts_with(
        &[("VMEM_ALLOC_DIR", &long)],
        &format!("{place} {long}: open: File name too long; use a shorter path\n"),
    );
}

#[test]
fn no_space_for_a_preallocated_pool() {
    aborts_with(
        &[("VMEM_ALLOC_SIZE", "8T"), ("VMEM_ALLOC_SPACE", "prealloc")],
        "vmem: cannot make the pool of 8796093022208 bytes in the directory /dev/shm: \
         posix_fallocate: No space left on device; make the pool smaller, or free space there\n",
    );
}

#[test]
fn values_that_make_no_sense() {
    for policy in ["abort", "dram", "fail"] {
        aborts_with(
            &[("VMEM_ALLOC_SIZE", "lots"), ("VMEM_ALLOC_ON_FAILURE", policy)],
            "vmem: VMEM_ALLOC_SIZE=lots is not a number of bytes; \
             use a number of bytes, at least 14M and less than 16T\n",
        );
    }
    aborts_with(
        &[("VMEM_ALLOC_SIZE", "13M")],
        "vmem: VMEM_ALLOC_SIZE=13M; \
         use a number of bytes, at least 14M and less than 16T\n",
    );
    aborts_with(
        &[("VMEM_ALLOC_OVERFLOW", "yes")],
        "vmem: VMEM_ALLOC_OVERFLOW=yes; use none or dram\n",
    );
    aborts_with(
        &[("VMEM_ALLOC_SIZE", "17T")],
        "vmem: VMEM_ALLOC_SIZE=17T; \
         use a number of bytes, at least 14M and less than 16T\n",
    );
}

#[test]
fn dram_takes_the_place_of_a_pool_where_that_is_wanted() {
    let text = text_of(with(&[
        ("VMEM_ALLOC_DIR", "/nowhere"),
        ("VMEM_ALLOC_SIZE", "64M"),
        ("VMEM_ALLOC_ON_FAILURE", "dram"),
    ]));
    assert!(text.contains("backing:            Dram\n"), "{text}");
    assert!(text.contains("pool bytes:         67108864\n"), "{text}");
}

#[test]
fn every_allocation_fails_where_that_is_wanted() {
    let output =
        run(&mut with(&[("VMEM_ALLOC_DIR", "/nowhere"), ("VMEM_ALLOC_ON_FAILURE", "fail")]));
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "no program gets far without an allocation");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("vmem"), "{errors}");
}

#[test]
fn a_full_pool_overflows_where_that_is_wanted() {
    let small = |overflow| {
        let mut command = with(&[("VMEM_ALLOC_SIZE", "14M"), ("VMEM_ALLOC_OVERFLOW", overflow)]);
        // These need 24 MiB at least.
        command.arg("600000");
        command
    };
    let text = text_of(small("dram"));
    assert!(text.contains("pool bytes:         14680064\n"), "{text}");
    assert!(text.contains("overflow bytes:     "), "{text}");
    let output = run(&mut small("none"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("memory allocation of"), "{errors}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}
