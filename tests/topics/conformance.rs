//! Every call and every errno of the contract, by C and C++ programs.

use pmem_e2e::artifact::program;
use pmem_e2e::cases::Cases;
use pmem_e2e::preload::Pool;

#[test]
fn calls_in_a_preallocated_pool() {
    Cases::of(&program("conformance")).run(&Pool::prealloc(16));
}

#[test]
fn calls_in_a_lazy_pool() {
    Cases::of(&program("conformance")).run(&Pool::lazy(16));
}

#[test]
fn calls_in_the_smallest_pool() {
    Cases::of(&program("conformance")).run(&Pool::lazy(14));
}

/// Giving memory back at every chance must not change what a call does.
#[test]
fn calls_in_a_pool_that_purges_at_once() {
    Cases::of(&program("conformance")).run(&Pool::lazy(16).set("VMMALLOC_PURGE_MS", "0"));
}

#[test]
fn calls_in_a_pool_with_huge_pages_advised() {
    Cases::of(&program("conformance")).run(&Pool::lazy(64).set("VMMALLOC_HUGEPAGE", "advise"));
}

#[test]
fn assertions_of_the_reference_tests() {
    Cases::of(&program("reference")).run(&Pool::prealloc(16));
}

#[test]
fn cxx_operators_exceptions_and_destructors() {
    Cases::of(&program("cxx")).run(&Pool::lazy(32));
}
