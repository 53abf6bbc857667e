//! No code: this package only names the crates whose bundled C and C++ sources are measured.
