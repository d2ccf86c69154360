use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::object::testing::{Plain, calm_heap};

/// Classes of equal keys.
fn classes() -> Vec<Vec<Plain>> {
    let tuple = |items: &[Plain]| Plain::Tuple(items.to_vec());
    let two_to_70 = [Plain::int(1 << 70), Plain::float((1_i128 << 70) as f64)];
    vec![
        vec![Plain::None],
        vec![Plain::Bool(true), Plain::Int(1), Plain::float(1.0)],
        vec![Plain::Bool(false), Plain::Int(0), Plain::float(0.0), Plain::float(-0.0)],
        vec![Plain::int(1 << 62), Plain::float((1_i64 << 62) as f64)],
        vec![Plain::int((1 << 62) + 1)],
        two_to_70.to_vec(),
        vec![Plain::float(0.1)],
        vec![Plain::float(f64::NEG_INFINITY)],
        vec![Plain::str("k")],
        vec![Plain::Bytes(b"k".to_vec())],
        vec![Plain::str("the name of a field")],
        vec![Plain::Bytes(b"the name of a field".to_vec())],
        vec![Plain::Str(vec![b'n'; 100])],
        // The bytes that the int 1 is hashed as.
        vec![Plain::Bytes(1_i64.to_le_bytes().to_vec())],
        vec![tuple(&[])],
        vec![tuple(&[Plain::Int(1)]), tuple(&[Plain::Bool(true)]), tuple(&[Plain::float(1.0)])],
        vec![tuple(&[tuple(&[Plain::Int(1)])]), tuple(&[tuple(&[Plain::float(1.0)])])],
        vec![tuple(&[Plain::Int(1), Plain::None])],
        vec![tuple(&[two_to_70[0].clone(), Plain::str("x")]), tuple(&[two_to_70[1].clone(), Plain::str("x")])],
    ]
}

#[test]
fn keys_are_equal_and_hash_alike_as_python_says() {
    let heap = calm_heap();
    let classes = classes();
    for (i, class) in classes.iter().enumerate() {
        for (j, other) in classes.iter().enumerate() {
            for (one, two) in class.iter().flat_map(|one| other.iter().map(move |two| (one, two))) {
                let (equal, hashes) = heap
                    .run(|op| {
                        let stored = one.key().materialise(op, false)?;
                        let hashes = [one.key().hash(op), hash_stored(op, stored), two.key().hash(op)];
                        Ok((two.key().equals(op, stored), hashes))
                    })
                    .expect("room for a test's keys");
                assert_eq!(equal, i == j, "{one:?} == {two:?}");
                assert!(hashes[0].is_some() && hashes[0] == hashes[1]);
                assert_eq!(hashes[1] == hashes[2], i == j || is_text_twin(one, two), "{one:?} and {two:?}");
            }
        }
    }
}

/// A string and bytes with the same content are different keys, and may have the same hash.
fn is_text_twin(one: &Plain, two: &Plain) -> bool {
    match (one, two) {
        (Plain::Str(one), Plain::Bytes(two)) | (Plain::Bytes(one), Plain::Str(two)) => one == two,
        _ => false,
    }
}

#[test]
fn what_holds_a_nan_equals_nothing_and_has_no_hash() {
    let heap = calm_heap();
    let nan = Plain::float(f64::NAN);
    for key in [nan.clone(), Plain::Tuple(vec![Plain::Int(1), Plain::Tuple(vec![nan])])] {
        let (equal, hash, stored_hash) = heap
            .run(|op| {
                let stored = key.key().materialise(op, true)?;
                Ok((key.key().equals(op, stored), key.key().hash(op), hash_stored(op, stored)))
            })
            .expect("room for a test's keys");
        assert_eq!((equal, hash, stored_hash), (false, None, None));
    }
}

#[test]
fn keys_come_back_as_they_were() {
    let heap = calm_heap();
    for key in classes().into_iter().flatten() {
        let back = heap.run(|op| {
            let stored = key.key().materialise(op, true)?;
            Plain::read(op, stored)
        });
        assert_eq!(back.expect("room for a test's key"), key);
    }
}

#[test]
fn hashes_depend_on_the_heap() {
    let hash = || calm_heap().run(|op| Ok(Key::Str(b"the same").hash(op))).expect("a test's operation");
    assert_ne!(hash(), hash());
}

#[test]
fn hashes_are_spread() {
    let heap = calm_heap();
    let random = &mut StdRng::seed_from_u64(1);
    let mut buckets = [0_u32; 64];
    for _ in 0..64_000 {
        let key = Plain::Int(random.random_range(0..100_000_i64) << 20);
        let hash = heap.run(|op| Ok(key.key().hash(op))).expect("a test's operation").expect("an int has a hash");
        buckets[(hash >> 58) as usize] += 1;
    }
    assert!(buckets.iter().all(|count| (700..1300).contains(count)), "{buckets:?}");
}
