//! What processes use, as the kernel counts it. A program leads a process group of its own, and what it started belongs
//! to it, also where that has a group of its own again.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The kernel's unit of CPU time in `/proc`: 1/100 s wherever Linux runs Rust.
const TICK: Duration = Duration::from_millis(10);
/// Between two samples.
const PAUSE: Duration = Duration::from_millis(500);

/// What a group has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, of children that have ended too.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub resident: u64,
    /// Its peak, bytes: the sum of the processes' own peaks.
    pub peak: u64,
}

/// The fields of a line of `/proc/<pid>/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    group: i32,
    cpu: Duration,
}

fn stat(stat: &str) -> Option<Stat> {
    // The name, second and in brackets, may hold blanks and brackets itself.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let (parent, group) = (fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?);
    // utime, stime, cutime, cstime.
    let ticks: u32 = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Some(Stat { parent, group, cpu: TICK * ticks })
}

/// Which of these groups a process belongs to: by its own, or that of the nearest process that it descends from.
fn belongs(mut process: i32, all: &BTreeMap<i32, Stat>, groups: &[i32]) -> Option<i32> {
    while let Some(stat) = all.get(&process) {
        if groups.contains(&stat.group) {
            return Some(stat.group);
        }
        process = stat.parent;
    }
    None
}

fn kib(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
    value.unwrap_or(0_u64) * 1_024
}

/// What each of these groups has used; those that have ended are absent.
pub fn of_groups(groups: &[i32]) -> BTreeMap<i32, Usage> {
    let mut usage: BTreeMap<i32, Usage> = BTreeMap::new();
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    // A process that ends meanwhile has nothing to say.
    let all: BTreeMap<i32, Stat> = numbers
        .filter_map(|number| Some((number, stat(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)?)))
        .collect();
    for (number, stat) in &all {
        let Some(group) = belongs(*number, &all, groups) else { continue };
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let sum = usage.entry(group).or_default();
        sum.cpu += stat.cpu;
        sum.resident += kib(&status, "VmRSS:");
        sum.peak += kib(&status, "VmHWM:");
    }
    usage
}

/// What a group used while it was watched.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// CPU time.
    pub cpu: Duration,
    /// Peak of resident memory, bytes.
    pub peak: u64,
    /// Resident memory by time, s and bytes.
    pub resident: Vec<(f64, u64)>,
}

impl Used {
    fn take_in(&mut self, after: f64, before: Usage, now: Usage) {
        self.cpu = now.cpu.saturating_sub(before.cpu);
        self.peak = self.peak.max(now.peak);
        self.resident.push((after, now.resident));
    }
}

/// Groups by name.
type Watched = BTreeMap<String, Group>;

/// A group that is watched.
#[derive(Debug)]
struct Group {
    number: i32,
    /// What it had used when the watch began.
    before: Usage,
    used: Used,
}

/// Watches groups in a thread until it is told to finish.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    watched: Arc<Mutex<Watched>>,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// From now on, of these groups by name.
    pub fn start(groups: &[(&str, i32)]) -> Self {
        let before = of_groups(&groups.iter().map(|(_, group)| *group).collect::<Vec<_>>());
        let known = |group| before.get(&group).copied().unwrap_or_default();
        let watched = groups
            .iter()
            .map(|(name, group)| {
                ((*name).to_owned(), Group { number: *group, before: known(*group), used: Used::default() })
            })
            .collect();
        let mut sampler =
            Self { stop: Arc::default(), watched: Arc::new(Mutex::new(watched)), began: Instant::now(), thread: None };
        let (stop, watched, began) = (Arc::clone(&sampler.stop), Arc::clone(&sampler.watched), sampler.began);
        sampler.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sample(&watched, began);
                std::thread::park_timeout(PAUSE);
            }
        }));
        sampler
    }

    /// What was used until now, by name.
    pub fn finish(mut self) -> BTreeMap<String, Used> {
        self.end();
        sample(&self.watched, self.began);
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().map(|(name, group)| (name.clone(), group.used.clone())).collect()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only reads files: there is nothing that it could panic of.
            thread.join().unwrap_or(());
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn sample(watched: &Mutex<Watched>, began: Instant) {
    let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    let now = of_groups(&watched.values().map(|group| group.number).collect::<Vec<_>>());
    let after = began.elapsed().as_secs_f64();
    for group in watched.values_mut() {
        // One that has ended keeps what it had used at the last look.
        if let Some(now) = now.get(&group.number) {
            group.used.take_in(after, group.before, *now);
        }
    }
}

/// By how much memory grows, MB per minute: the least-squares line through what was resident from `from_s` to `to_s`.
#[expect(clippy::cast_precision_loss, reason = "memory in MB")]
pub fn slope_mb_per_min(resident: &[(f64, u64)], from_s: f64, to_s: f64) -> f64 {
    let points: Vec<_> = resident.iter().filter(|(at, _)| (from_s..=to_s).contains(at)).collect();
    let n = points.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean_at = points.iter().map(|(at, _)| at).sum::<f64>() / n;
    let mean = points.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / n;
    let above: f64 = points.iter().map(|(at, bytes)| (at - mean_at) * (*bytes as f64 - mean)).sum();
    let below: f64 = points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below * 60.0 / 1e6 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn group_and_time_are_found_behind_any_name() {
        let line = "71 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 3 4 5 6 20 0 1 0 100 1000 10";
        assert_eq!(stat(line), Some(Stat { parent: 1, group: 42, cpu: TICK * 18 }));
        assert_eq!(stat("71 (torn"), None);
    }

    #[test]
    fn a_worker_in_a_group_of_its_own_belongs_to_who_started_it() {
        let stat = |parent, group| Stat { parent, group, cpu: TICK };
        // A program, its worker, that one's child; the bench itself; another program of the bench's.
        let all =
            [(10, stat(2, 10)), (11, stat(10, 11)), (12, stat(11, 11)), (2, stat(1, 2)), (20, stat(2, 20))].into();
        assert_eq!(
            [10, 11, 12, 2, 20].map(|n| belongs(n, &all, &[10, 20])),
            [Some(10), Some(10), Some(10), None, Some(20)]
        );
    }

    #[test]
    fn a_program_is_counted_with_what_it_started_and_nothing_else_is() {
        // The shell starts another one, which works; both wait for their input to end.
        let mut child = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read x' | { read y; read z; }",
            ])
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = i32::try_from(child.id()).unwrap();
        let sampler = Sampler::start(&[("worker", group), ("nobody", i32::MAX)]);
        let deadline = Instant::now() + Duration::from_secs(30);
        while of_groups(&[group])[&group].cpu < 2 * TICK {
            assert!(Instant::now() < deadline, "the kernel counts no time");
            std::thread::sleep(Duration::from_millis(20));
        }
        let used = sampler.finish();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used["worker"].cpu >= TICK && used["worker"].peak > 100_000, "{used:?}");
        assert_eq!((used["nobody"].cpu, used["nobody"].peak), (Duration::ZERO, 0));
    }

    #[test]
    fn the_slope_tells_growth_from_rest() {
        let growing: Vec<_> = (0..60).map(|s| (f64::from(s), 1_000_000 * (100 + s as u64))).collect();
        assert!((slope_mb_per_min(&growing, 0.0, 60.0) - 60.0).abs() < 1e-6);
        let flat: Vec<_> = (0..60).map(|s| (f64::from(s), 50_000_000)).collect();
        assert!(slope_mb_per_min(&flat, 0.0, 60.0).abs() < 1e-9);
        // What lies outside does not count.
        assert!(slope_mb_per_min(&growing, 10.0, 10.0).abs() < 1e-9);
    }
}
