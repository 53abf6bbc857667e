//! Pools in files.

use pmemblk::{LEAST_POOL, PmemBlk};

#[test]
fn a_pool_is_consistent_when_open_and_when_closed() {
    let directory = tempfile::tempdir().unwrap();
    for block_size in [512, 4096, 30_000] {
        let path = directory.path().join(block_size.to_string());
        let blocks = PmemBlk::create(&path, block_size, LEAST_POOL).unwrap();
        for block in [0, 7, 0, 200, 7] {
            blocks.write(block, &vec![block as u8; block_size as usize]).unwrap();
            assert!(blocks.is_consistent().unwrap());
        }
        drop(blocks);
        assert!(PmemBlk::open(&path).unwrap().is_consistent().unwrap());
        assert!(PmemBlk::check(&path).unwrap());
    }
}
