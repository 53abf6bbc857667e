//! Mappings of ordinary files and of memory: what is durable, what is refused.

use std::fs::File;
use std::path::PathBuf;
use std::thread;

use pmem::{
    BadBlock, BadBlocks, ErrorKind, Granularity, Map, MapOptions, Reservation, Rights, Sharing,
    Source,
};

const PAGE: usize = 4096;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, len: u64) -> Scratch {
        let path = std::env::temp_dir().join(format!("pmem-{name}-{}", std::process::id()));
        File::create(&path).unwrap().set_len(len).unwrap();
        Scratch(path)
    }

    fn source(&self) -> Source {
        Source::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options() -> MapOptions<'static> {
    MapOptions::new(Granularity::Page)
}

fn kind(result: Result<Map, pmem::Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_is_written_is_in_the_file() {
    let scratch = Scratch::new("write", 10_000);
    let map = options().map(&scratch.source()).unwrap();
    assert_eq!((map.len(), map.granularity()), (10_000, Granularity::Page));
    assert_eq!(map.as_ptr().addr() % (2 << 20), 0);
    map.write(9_990, b"0123456789").unwrap();
    assert_eq!(map.write(9_991, b"0123456789").unwrap_err().kind(), ErrorKind::LengthOutOfRange);
    assert_eq!(&std::fs::read(&scratch.0).unwrap()[9_990..], b"0123456789");
    let mut back = [0; 4];
    map.read(9_992, &mut back).unwrap();
    assert_eq!(&back, b"2345");
    map.deep_flush(0, 10_000).unwrap();
    assert_eq!(map.deep_flush(1, 10_000).unwrap_err().kind(), ErrorKind::DeepFlushRange);
    map.check_registered().unwrap();
}

#[test]
fn private_stores_stay_here() {
    let scratch = Scratch::new("private", 8192);
    let map = options().sharing(Sharing::Private).map(&scratch.source()).unwrap();
    assert_eq!(map.granularity(), Granularity::Byte);
    map.write(0, b"mine").unwrap();
    assert_eq!(std::fs::read(&scratch.0).unwrap()[..4], [0; 4]);
}

#[test]
fn refusals() {
    let scratch = Scratch::new("refusals", 3 * PAGE as u64 + 5);
    let source = scratch.source();
    let empty = Scratch::new("empty", 0);
    let read_only = Source::from_file(File::open(&scratch.0).unwrap()).unwrap();
    let read = Rights { read: true, write: false, execute: false };
    assert_eq!(kind(MapOptions::unset().map(&source)), ErrorKind::GranularityNotSet);
    let fine = MapOptions::new(Granularity::CacheLine).map(&source).unwrap_err();
    assert_eq!(fine.kind(), ErrorKind::GranularityNotSupported);
    assert!(fine.to_string().contains("page") && fine.to_string().contains("cache line"));
    assert_eq!(kind(options().map(&empty.source())), ErrorKind::SourceEmpty);
    assert_eq!(kind(options().map(&Source::anonymous(0))), ErrorKind::SourceEmpty);
    assert_eq!(kind(options().offset(1).map(&source)), ErrorKind::OffsetUnaligned);
    assert_eq!(kind(options().len(1).map(&source)), ErrorKind::LengthUnaligned);
    assert_eq!(kind(options().len(4 * PAGE).map(&source)), ErrorKind::MapRange);
    assert_eq!(kind(options().offset(4 * PAGE).map(&source)), ErrorKind::MapRange);
    let most = usize::MAX & !(PAGE - 1);
    assert_eq!(kind(options().offset(PAGE).len(most).map(&source)), ErrorKind::MapRange);
    assert_eq!(kind(options().map(&read_only)), ErrorKind::NoAccess);
    let map = options().rights(read).map(&read_only).unwrap();
    assert_eq!(map.write(0, b"x").unwrap_err().kind(), ErrorKind::NoAccess);
    let tail = options().offset(3 * PAGE).map(&source).unwrap();
    assert_eq!(tail.len(), 5);
}

#[test]
fn sources() {
    let type_of = |path: &str| Source::open(path.as_ref()).map_err(|error| error.kind());
    assert_eq!(type_of("/dev/null").unwrap_err(), ErrorKind::InvalidFileType);
    assert!(
        Source::open("/nonexistent".as_ref()).unwrap_err().to_string().contains("/nonexistent")
    );
    let directory = File::open("/tmp").unwrap();
    assert_eq!(Source::from_file(directory).unwrap_err().kind(), ErrorKind::InvalidFileType);
    assert_eq!(Source::from_fd(-1).unwrap_err().kind(), ErrorKind::InvalidFileHandle);
    let scratch = Scratch::new("sources", 100);
    let write_only = File::options().write(true).open(&scratch.0).unwrap();
    assert_eq!(Source::from_file(write_only).unwrap_err().kind(), ErrorKind::InvalidFileHandle);
    let source = scratch.source();
    assert_eq!((source.size().unwrap(), source.alignment()), (100, PAGE));
    let memory = Source::anonymous(77);
    assert_eq!(memory.raw_fd().unwrap_err().kind(), ErrorKind::FileDescriptorNotSet);
    assert_eq!(memory.numa_node().unwrap_err().kind(), ErrorKind::NotSupported);
    assert_eq!(memory.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::SourceTypeNotSupported);
    source.write_at(b"abc", 97).unwrap();
    let mut back = [0; 3];
    source.read_at(&mut back, 97).unwrap();
    assert_eq!(&back, b"abc");
    for (len, offset) in [(4, 97), (1, 100), (0, 101), (1, usize::MAX)] {
        let refused = source.read_at(&mut vec![0; len], offset).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LengthOutOfRange, "{len} at {offset}");
    }
}

#[test]
fn reservations() {
    let room = Reservation::new(0, 8 * PAGE).unwrap();
    let memory = Source::anonymous(2 * PAGE);
    let first = options().within(&room, PAGE).map(&memory).unwrap();
    let last = options().within(&room, 6 * PAGE).map(&memory).unwrap();
    assert_eq!(first.as_ptr().addr(), room.address() + PAGE);
    let refused = |offset| kind(options().within(&room, offset).map(&memory));
    assert_eq!(refused(2 * PAGE), ErrorKind::MappingExists);
    assert_eq!(refused(0), ErrorKind::MappingExists);
    assert_eq!(refused(7 * PAGE), ErrorKind::LengthOutOfRange);
    assert_eq!(refused(usize::MAX - PAGE + 1), ErrorKind::LengthOutOfRange);
    assert_eq!(refused(100), ErrorKind::OffsetUnaligned);
    let start =
        |entry: Option<pmem::registry::Entry>| entry.map(|e| (e.start - room.address()) / PAGE);
    assert_eq!(start(room.find(0, 8 * PAGE)), Some(1));
    assert_eq!(start(room.find(3 * PAGE, 3 * PAGE)), None);
    assert_eq!(start(room.find_last()), Some(6));
    assert_eq!(start(room.find_before(last.as_ptr().addr())), Some(1));
    assert_eq!(start(room.find_from(first.as_ptr().addr() + first.len())), Some(6));
    let shrink = |offset, len| room.shrink(offset, len).unwrap_err().kind();
    assert_eq!(shrink(0, 8 * PAGE), ErrorKind::NotSupported);
    assert_eq!(shrink(3 * PAGE, PAGE), ErrorKind::NotSupported);
    assert_eq!(shrink(7 * PAGE, PAGE), ErrorKind::ReservationNotEmpty);
    assert_eq!(shrink(0, 0), ErrorKind::LengthOutOfRange);
    assert_eq!(shrink(PAGE, 8 * PAGE), ErrorKind::LengthOutOfRange);
    assert_eq!(shrink(8 * PAGE, PAGE), ErrorKind::OffsetOutOfRange);
    assert_eq!(shrink(1, PAGE), ErrorKind::OffsetUnaligned);
    assert_eq!(shrink(0, 1), ErrorKind::LengthUnaligned);
    room.shrink(0, PAGE).unwrap();
    assert_eq!((room.address(), room.len()), (first.as_ptr().addr(), 7 * PAGE));
    drop(last);
    room.shrink(4 * PAGE, 3 * PAGE).unwrap();
    room.extend(3 * PAGE).unwrap();
    room.extend(0).unwrap();
    assert_eq!(room.len(), 7 * PAGE);
    let again = options().within(&room, 5 * PAGE).map(&memory).unwrap();
    again.write(0, &[9; 2 * PAGE]).unwrap();
    let (error, room) = room.delete().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReservationNotEmpty);
    drop((first, again));
    room.delete().unwrap();
    assert_eq!(Reservation::new(0, 100).unwrap_err().kind(), ErrorKind::LengthUnaligned);
    assert_eq!(Reservation::new(100, PAGE).unwrap_err().kind(), ErrorKind::AddressUnaligned);
    assert!(Reservation::new(0, 0).unwrap().is_empty());
}

fn address_space() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').next().unwrap().parse::<usize>().unwrap() * PAGE
}

/// The reference leaves its alignment padding behind.
#[test]
fn reservations_leave_nothing_behind() {
    // Other tests map meanwhile, but not gigabytes.
    let before = address_space();
    for _ in 0..1000 {
        Reservation::new(0, 4 << 20).unwrap().delete().unwrap();
    }
    assert!(address_space() < before + (1 << 30));
}

#[test]
fn threads_share_a_reservation() {
    let room = Reservation::new(0, 64 * PAGE).unwrap();
    let memory = Source::anonymous(PAGE);
    thread::scope(|scope| {
        for number in 0..4 {
            let (room, memory) = (&room, &memory);
            scope.spawn(move || {
                for round in 0..500 {
                    // The same place for all.
                    let offset = (round % 8) * PAGE;
                    if let Ok(map) = options().within(room, offset).map(memory) {
                        map.write(0, &[number; 100]).unwrap();
                        let mut back = [0; 100];
                        map.read(0, &mut back).unwrap();
                        assert_eq!(back, [number; 100]);
                    }
                }
            });
        }
    });
    room.delete().unwrap();
}

#[test]
fn existing_memory_is_registered_once() {
    let scratch = Scratch::new("existing", 8192);
    let source = scratch.source();
    let map = options().map(&source).unwrap();
    // SAFETY: mapped as long as `map` lives.
    let twice = unsafe { Map::from_existing(&source, map.as_ptr(), 4096, Granularity::Page) };
    assert_eq!(kind(twice), ErrorKind::MapExists);
    let mut memory = vec![0u8; 100];
    // SAFETY: the vector lives longer.
    let own =
        unsafe { Map::from_existing(&source, memory.as_mut_ptr(), 100, Granularity::CacheLine) };
    let own = own.unwrap();
    own.write(10, b"x").unwrap();
    drop(own);
    assert_eq!(memory[10], b'x');
}

#[test]
fn ordinary_files_have_no_bad_blocks() {
    let scratch = Scratch::new("bad", 3 * PAGE as u64);
    std::fs::write(&scratch.0, vec![7; 3 * PAGE]).unwrap();
    let source = scratch.source();
    let mut bad = BadBlocks::of(&source).unwrap();
    assert_eq!(bad.next(), None);
    assert_eq!(BadBlocks::of(&Source::anonymous(1)).unwrap_err().kind(), ErrorKind::NotSupported);
    match bad.clear(&BadBlock { offset: PAGE as u64, len: PAGE as u64 }) {
        Ok(()) => {
            let now = std::fs::read(&scratch.0).unwrap();
            assert!(now.len() == 3 * PAGE && now[PAGE..2 * PAGE].iter().all(|&byte| byte == 0));
            assert!(now[..PAGE].iter().chain(&now[2 * PAGE..]).all(|&byte| byte == 7));
        }
        Err(error) => assert_eq!(error.errno(), pmem_core::errno::Errno::EOPNOTSUPP),
    }
}
