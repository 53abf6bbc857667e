//! Compiles the C sources; each program is one archive with its own `main`.
//!
//! The programs are C because that is what preloaded allocators serve: calls go through the PLT as in
//! any Debian binary, nothing but libc allocates, and the compiler is told not to reason about `malloc`.

use std::path::Path;

const WORKLOADS: [&str; 16] = [
    "main",
    "micro",
    "growth",
    "primes",
    "minimise",
    "nbody",
    "server",
    "handover",
    "lifetimes",
    "cachelines",
    "stress",
    "simple",
    "tree",
    "shorttime",
    "longrun",
    "probe",
];

fn archive(name: &str, sources: &[&str]) {
    let mut build = cc::Build::new();
    build
        .std("gnu11")
        .opt_level(2)
        .debug(true)
        .warnings(true)
        .extra_warnings(true)
        .use_plt(true)
        .flag("-pthread")
        .cargo_metadata(false);
    for function in ["malloc", "calloc", "realloc", "free"] {
        build.flag(format!("-fno-builtin-{function}"));
    }
    for source in sources {
        build.file(format!("c/{source}.c"));
    }
    build.compile(name);
}

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    archive("pmem_workloads", &WORKLOADS);
    archive("pmem_launch", &["launch"]);
    for (program, library) in [("pmem-workloads", "pmem_workloads"), ("pmem-launch", "pmem_launch")]
    {
        let path = Path::new(&out).join(format!("lib{library}.a"));
        println!("cargo::rustc-link-arg-bin={program}={}", path.display());
        for library in ["-lm", "-lc"] {
            println!("cargo::rustc-link-arg-bin={program}={library}");
        }
    }
}
