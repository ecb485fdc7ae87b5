//! Figures, printed: `cargo test -p motorcade-edge spool -- --ignored --nocapture`.

use super::*;

#[test]
#[ignore = "prints figures of this machine"]
fn appends_with_an_fsync_per_batch_and_readings_in_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Settings::new(4 << 30)).unwrap();
    let body = vec![b'x'; 260];
    let (batches, per_batch) = (2_000_u32, 500_u32);
    let batch = vec![&body[..]; per_batch as usize];
    let records = f64::from(batches * per_batch);
    let mega = records * 260.0 / 1e6;

    let start = Instant::now();
    for _ in 0..batches {
        store.append(batch.iter().copied()).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    let per_batch_ms = 1_000.0 * seconds / f64::from(batches);
    println!("append: {:.0} records/s, {:.1} MB/s, {per_batch_ms:.2} ms a batch", records / seconds, mega / seconds);

    let start = Instant::now();
    let (mut position, mut count) = (1, 0);
    while position < store.next() {
        let reading = store.read(position, 1 << 20).unwrap();
        count += reading.records.len();
        position = reading.next;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(count, (batches * per_batch) as usize);
    println!("read: {:.0} records/s, {:.0} MB/s", records / seconds, mega / seconds);

    let start = Instant::now();
    drop(store);
    let mut store = Store::open(dir.path(), Settings::new(4 << 30)).unwrap();
    println!("open: {:.1} ms", 1_000.0 * start.elapsed().as_secs_f64());

    let start = Instant::now();
    store.delivered(store.next()).unwrap();
    store.close().unwrap();
    println!("remove all: {:.1} ms", 1_000.0 * start.elapsed().as_secs_f64());
}
