//! The exported functions have the signatures that the libc crate declares. Compile-time only.

use crate::symbols;
use core::ffi::{c_int, c_void};

type Alloc = unsafe extern "C" fn(usize) -> *mut c_void;
type AllocTwo = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type Resize = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type UsableSize = unsafe extern "C" fn(*mut c_void) -> usize;
type PosixMemalign = unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int;

const _: [Alloc; 2] = [symbols::malloc, libc::malloc];
const _: [AllocTwo; 2] = [symbols::calloc, libc::calloc];
const _: [Resize; 2] = [symbols::realloc, libc::realloc];
const _: [Free; 3] = [symbols::free, symbols::cfree, libc::free];
const _: [AllocTwo; 2] = [symbols::memalign, libc::memalign];
const _: [AllocTwo; 2] = [symbols::aligned_alloc, libc::aligned_alloc];
const _: [PosixMemalign; 2] = [symbols::posix_memalign, libc::posix_memalign];
const _: [UsableSize; 2] = [symbols::malloc_usable_size, libc::malloc_usable_size];
// The libc crate does not declare these.
const _: [Alloc; 2] = [symbols::valloc, symbols::pvalloc];
const _: unsafe extern "C" fn(*mut c_void, usize) = symbols::free_sized;
const _: unsafe extern "C" fn(*mut c_void, usize, usize) = symbols::free_aligned_sized;

const _: [unsafe extern "C" fn(usize) -> c_int; 2] = [symbols::malloc_trim, libc::malloc_trim];
const _: [unsafe extern "C" fn(c_int, c_int) -> c_int; 2] = [symbols::mallopt, libc::mallopt];
const _: [unsafe extern "C" fn() -> libc::mallinfo; 2] = [symbols::mallinfo, libc::mallinfo];
const _: [unsafe extern "C" fn() -> libc::mallinfo2; 2] = [symbols::mallinfo2, libc::mallinfo2];
const _: [unsafe extern "C" fn(); 2] = [symbols::malloc_stats, libc::malloc_stats];
const _: [unsafe extern "C" fn(c_int, *mut libc::FILE) -> c_int; 2] =
    [symbols::malloc_info, libc::malloc_info];
