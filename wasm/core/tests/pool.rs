//! The worker pool with native threads.
use foretoken_core::pool::shared::Pool;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

fn start(threads: u32) -> (Arc<Pool>, Vec<thread::JoinHandle<()>>) {
    let pool = Arc::new(Pool::new());
    pool.init(threads);
    let workers = (1..threads as usize)
        .map(|thread| {
            let pool = pool.clone();
            thread::spawn(move || pool.worker(thread))
        })
        .collect();
    (pool, workers)
}

fn stop(pool: &Pool, workers: Vec<thread::JoinHandle<()>>) {
    pool.stop();
    for worker in workers {
        worker.join().unwrap();
    }
}

struct Count {
    cells: *const AtomicU32,
    job: u32,
}

unsafe fn count(args: &Count, lo: usize, hi: usize, _: *mut u8) {
    for unit in lo..hi {
        // SAFETY: the test's cells outlive the job and unit < their number.
        let before = unsafe { &*args.cells.add(unit) }.swap(args.job, SeqCst);
        assert_eq!(before, args.job - 1, "unit {unit} of job {} ran twice or never", args.job);
    }
}

#[test]
fn every_unit_runs_once_in_many_jobs() {
    for threads in [2, 3, 5] {
        let (pool, workers) = start(threads);
        pool.set_wait(true, 5_000);
        let cells: Vec<AtomicU32> = (0..1000).map(|_| AtomicU32::new(0)).collect();
        for job in 1..=3000 {
            let args = Count { cells: cells.as_ptr(), job };
            let status = unsafe { pool.run(&args, 1000, job as usize % 70, count, std::ptr::null_mut()) };
            assert_eq!(status, 0);
            assert!(cells.iter().all(|cell| cell.load(SeqCst) == job), "job {job} returned early");
            if job % 500 == 0 {
                // Long enough for the workers to fall asleep.
                thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        stop(&pool, workers);
    }
}

#[test]
fn jobs_that_were_started_are_done_when_they_are_joined() {
    for threads in [1, 2, 3] {
        let (pool, workers) = start(threads);
        pool.set_wait(true, 5_000);
        assert_eq!(unsafe { pool.join(std::ptr::null_mut()) }, 0, "nothing to wait for");
        let [ours, others] = [0, 1].map(|_| (0..300).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
        for job in 1..=2000 {
            let args = Count { cells: ours.as_ptr(), job };
            unsafe { pool.start(&args, 300, 7, count, std::ptr::null_mut()) };
            if job % 3 == 0 {
                // Another kernel in between joins what was started.
                let args = Count { cells: others.as_ptr(), job: job / 3 };
                assert_eq!(unsafe { pool.run(&args, 300, 7, count, std::ptr::null_mut()) }, 0);
                assert!(others.iter().all(|cell| cell.load(SeqCst) == job / 3));
            } else {
                assert_eq!(unsafe { pool.join(std::ptr::null_mut()) }, 0);
            }
            assert!(ours.iter().all(|cell| cell.load(SeqCst) == job), "job {job} was joined early");
        }
        let args = Count { cells: ours.as_ptr(), job: 2001 };
        unsafe { pool.start(&args, 300, 7, count, std::ptr::null_mut()) };
        stop(&pool, workers);
        assert_eq!(unsafe { pool.join(std::ptr::null_mut()) }, 0, "a job outlives its workers");
        assert!(ours.iter().all(|cell| cell.load(SeqCst) == 2001));
    }
}

struct Mark {
    scratch: *mut usize,
}

unsafe fn mark(args: &Mark, lo: usize, hi: usize, scratch: *mut u8) {
    for unit in lo..hi {
        // SAFETY: one slot per unit.
        unsafe { *args.scratch.add(unit) = scratch as usize };
        thread::sleep(std::time::Duration::from_micros(50));
    }
}

#[test]
fn each_thread_has_its_own_scratch() {
    let (pool, workers) = start(3);
    pool.set_scratch(0x1000, 0x100);
    let mut seen = vec![0usize; 90];
    let args = Mark { scratch: seen.as_mut_ptr() };
    let status = unsafe { pool.run(&args, 90, 1, mark, 0x1000 as *mut u8) };
    assert_eq!(status, 0);
    assert!(seen.iter().all(|scratch| [0x1000, 0x1100, 0x1200].contains(scratch)), "{seen:x?}");
    assert!(seen.contains(&0x1000));
    stop(&pool, workers);
}

#[test]
fn a_job_is_done_without_workers_that_never_came() {
    let pool = Pool::new();
    pool.init(4);
    let cells: Vec<AtomicU32> = (0..100).map(|_| AtomicU32::new(0)).collect();
    let args = Count { cells: cells.as_ptr(), job: 1 };
    assert_eq!(unsafe { pool.run(&args, 100, 1, count, std::ptr::null_mut()) }, 0);
    assert!(cells.iter().all(|cell| cell.load(SeqCst) == 1));
}

struct Stuck {
    caller: thread::ThreadId,
    taken: *const Barrier,
    met: AtomicU32,
}

/// A worker that gets a unit never gives it back; the caller waits until it has one.
unsafe fn stuck(args: &Stuck, _: usize, _: usize, _: *mut u8) {
    // SAFETY: the barrier outlives the test's threads.
    let taken = unsafe { &*args.taken };
    if thread::current().id() == args.caller {
        if args.met.swap(1, SeqCst) == 0 {
            taken.wait();
        }
    } else {
        taken.wait();
        loop {
            thread::park();
        }
    }
}

#[test]
fn a_lost_worker_is_reported_and_stays_reported() {
    for may_block in [true, false] {
        // Leaked, for the lost worker goes on living.
        let (pool, _) = start(2);
        let pool: &'static Arc<Pool> = Box::leak(Box::new(pool));
        pool.set_wait(may_block, 30);
        let args = Stuck {
            caller: thread::current().id(),
            taken: Box::leak(Box::new(Barrier::new(2))),
            met: AtomicU32::new(0),
        };
        let start = std::time::Instant::now();
        assert_eq!(unsafe { pool.run(&args, 100, 1, stuck, std::ptr::null_mut()) }, 1);
        assert!(start.elapsed().as_secs() < 5);
        assert_eq!(unsafe { pool.join(std::ptr::null_mut()) }, 1);
        let cells = [AtomicU32::new(0)];
        let next = Count { cells: cells.as_ptr(), job: 1 };
        assert_eq!(unsafe { pool.run(&next, 1, 1, count, std::ptr::null_mut()) }, 1);
        assert_eq!(cells[0].load(SeqCst), 0, "a job ran beside a lost worker");
    }
}
