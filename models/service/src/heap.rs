//! Memory that was freed is kept for what comes next.

use std::hint::black_box;

/// Freed memory that an arena may keep is twice this, bytes.
const THRESHOLD: usize = 1024 * 1024;

/// Lets the C library keep some freed memory at the end of a heap: 2 MiB instead of 128 KiB.
///
/// librdkafka takes some 80 KiB to compress a batch, and frees them afterwards. At the default, glibc gives those pages
/// back to the kernel each time, and takes them again for the next batch: at 5,000 messages/s a quarter of the CPU went
/// there. Whoever frees a block that was mapped for itself raises the threshold to that block's size and what may be
/// kept to twice as much (mallopt(3), `M_MMAP_THRESHOLD`), so one such block is taken and freed here. With another C
/// library this does nothing, nor where an executable has an allocator of its own, as `motorcade` has.
pub(crate) fn keep_freed() {
    drop(black_box(Vec::<u8>::with_capacity(THRESHOLD)));
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Page faults of this thread so far that needed no disk: the tenth field of its `stat`, counted from the process id.
    fn faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    #[ignore = "is run by the other one, in a process of its own: what any test frees changes what glibc keeps"]
    fn alone() {
        keep_freed();
        let faults = std::thread::spawn(|| {
            let before = faults();
            for _ in 0..1_000 {
                // Neither is mapped for itself, and together they are above what is kept by default.
                let blocks = [vec![1_u8; 100 * 1024], vec![2_u8; 100 * 1024]];
                black_box(&blocks);
            }
            faults() - before
        });
        let faults = faults.join().unwrap();
        assert!(faults < 1_000, "{faults} page faults for 1,000 batches");
    }

    #[test]
    fn a_batch_gets_the_memory_of_the_one_before() {
        let mut this = std::process::Command::new(std::env::current_exe().unwrap());
        let output = this.args(["--ignored", "--exact", "heap::tests::alone"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }
}
