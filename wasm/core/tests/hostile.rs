//! The fuzz targets' bodies on the stored corpus and on some hundreds of random inputs.
mod common;
#[path = "common/hostile.rs"]
mod hostile;
use common::{Random, seed};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "{folder} is empty");
    inputs
}

fn run(target: &str, body: fn(&[u8])) {
    for input in corpus(target) {
        body(&input);
    }
    let seed = seed(31);
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..300 {
        let length = random.below(4000);
        body(&(0..length).map(|_| random.next() as u8).collect::<Vec<_>>());
    }
}

#[test]
fn attention_stays_inside_its_buffers() {
    run("attention", hostile::fuzz_attention);
}

#[test]
fn repacking_stays_inside_its_buffers() {
    run("repack", hostile::fuzz_repack);
}
