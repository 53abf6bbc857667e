//! The forms of the report, on a heap of this test's own.

#[path = "../src/stats/report.rs"]
mod report;

use pmem_core::source::Source;
use report::Report;
use vmem_engine::{Heap, Pool, PoolOptions, Runtime};

struct Anonymous;

impl Runtime for Anonymous {
    const SOLE: bool = false;

    fn create(&self) -> Option<Pool> {
        Pool::create(Source::anonymous(64 << 20).ok()?, &PoolOptions::default()).ok()
    }

    fn create_overflow(&self) -> Option<Pool> {
        None
    }

    fn out_of_memory(&self) {}

    unsafe fn foreign_free(&self, _pointer: *mut u8) {}

    unsafe fn foreign_realloc(&self, _pointer: *mut u8, _size: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    unsafe fn foreign_usable_size(&self, _pointer: *mut u8) -> usize {
        0
    }
}

/// A heap that counts calls, with ten blocks of 100 bytes (in slots of 112) and one of 1 MiB live,
/// and one of 100 bytes and one foreign block freed.
fn used_heap() -> &'static Heap<Anonymous> {
    let heap = Box::leak(Box::new(Heap::new(Anonymous)));
    heap.count_calls();
    for _ in 0..10 {
        assert!(!heap.alloc(100).is_null());
    }
    assert!(!heap.alloc(1 << 20).is_null());
    let freed = heap.alloc(100);
    let mut foreign = 0u8;
    // SAFETY: allocated above; the other one is foreign, and ignored by the runtime.
    unsafe {
        heap.free(freed);
        heap.free(&raw mut foreign);
    }
    heap
}

fn written(write: impl Fn(&Report, &mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    write(&Report::now(used_heap()).expect("a pool"), &mut text).expect("strings do not fail");
    text
}

/// The number after `"name":`.
fn number(json: &str, name: &str) -> u64 {
    let start = json.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {json}"));
    let rest = &json[start + name.len() + 3..];
    let end = rest.find([',', '}']).expect("something follows");
    rest[..end].parse().unwrap_or_else(|_| panic!("{name} is no number in {json}"))
}

#[test]
fn there_is_no_report_without_a_pool() {
    let heap: Heap<Anonymous> = Heap::new(Anonymous);
    assert!(Report::now(&heap).is_none());
}

#[test]
fn json_tells_what_the_program_did() {
    let json = written(Report::write_json);
    assert!(json.starts_with('{') && json.ends_with("}\n") && json.lines().count() == 1, "{json}");
    assert_eq!(number(&json, "pid"), u64::from(std::process::id()));
    assert!(json.contains("\"program\":\"report-"), "{json}");
    assert!(json.contains("\"medium\":\"memory\","), "{json}");
    for (name, value) in [
        ("pool_bytes", 64 << 20),
        ("allocations", 12),
        ("frees", 1),
        ("foreign_frees", 1),
        ("failures", 0),
        ("requested_bytes_live", 10 * 100 + (1 << 20)),
        ("allocated_bytes", 10 * 112 + (1 << 20)),
        ("peak_allocated_bytes", 11 * 112 + (1 << 20)),
        ("large_bytes", 1 << 20),
        ("overflow_bytes", 0),
    ] {
        assert_eq!(number(&json, name), value, "{name} in {json}");
    }
    let of = |name| number(&json, name);
    assert!(of("allocated_bytes") <= of("active_bytes"));
    assert!(of("active_bytes") <= of("committed_bytes"));
    assert!(of("committed_bytes") <= of("peak_committed_bytes"));
    assert!(of("peak_committed_bytes") <= of("pool_bytes"));
    assert!(json.contains("\"classes\":[{\"size\":112,\"slabs\":1,\"live\":10,"), "{json}");
}

#[test]
fn text_has_the_same_figures_under_the_same_names() {
    let heap = used_heap();
    let report = Report::now(heap).expect("a pool");
    let (mut text, mut json) = (String::new(), String::new());
    report.write_text(&mut text).expect("strings do not fail");
    report.write_json(&mut json).expect("strings do not fail");
    let mut figures = 0;
    let body = text.lines().skip(1).take_while(|line| !line.trim_start().starts_with("class "));
    for line in body {
        let (name, value) = line.split_once(' ').expect("name and value");
        assert_eq!(value.trim().parse(), Ok(number(&json, name)), "{name}");
        figures += 1;
    }
    assert!(figures >= 18, "{text}");
    let class = text.lines().last().expect("a class");
    assert_eq!(class.split_whitespace().take(3).collect::<Vec<_>>(), ["112", "1", "10"]);
}

#[test]
fn xml_is_balanced_and_has_the_totals() {
    let xml = written(Report::write_xml);
    assert!(xml.starts_with("<malloc version=\"1\">\n") && xml.ends_with("</malloc>\n"), "{xml}");
    for element in ["malloc", "heap", "sizes"] {
        assert_eq!(xml.matches(&format!("<{element}")).count(), 1, "{xml}");
        assert_eq!(xml.matches(&format!("</{element}>")).count(), 1, "{xml}");
    }
    for line in xml.lines() {
        let single = line.ends_with("/>");
        assert!(line.trim_start().starts_with('<') && line.ends_with('>'), "{line}");
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        assert!(single || line.starts_with("</") || !line.contains("total"), "{line}");
    }
    assert!(xml.contains(&format!("<aspace type=\"total\" size=\"{}\"/>", 64 << 20)), "{xml}");
    assert!(xml.contains("<size from=\"97\" to=\"112\" total="), "{xml}");
}
