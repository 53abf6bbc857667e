//! Link options of the shared object.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for option in [
        "-soname,libvmmalloc.so.1",
        // An undefined symbol is an error now, not when a program starts.
        "-z,defs",
        // Our constructor runs before all others; so our fork handlers are the first registered,
        // and the preparing one runs last, when no other can want an allocation any more.
        "-z,initfirst",
        // Thread-exit and fork handlers point into the library.
        "-z,nodelete",
        // Nothing is left to be resolved inside a call of malloc.
        "-z,now",
        "-z,relro",
    ] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{option}");
    }
    // Every process of a preloaded tree maps the file: the shipped one carries neither line tables nor the
    // names of what is inside. What it exports is in the dynamic table, which stays.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--strip-all");
    }
}
