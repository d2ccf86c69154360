use proptest::prelude::*;

use super::*;
use crate::Heap;
use crate::object::testing::{Plain, calm_heap, keep};
use crate::object::{dict, list};

fn stored<T>(heap: &Heap, scalar: &Scalar<'_>, mut then: impl FnMut(&mut Op<'_>, Value) -> T) -> T {
    let result = heap.run(|op| {
        let value = scalar.materialise(op)?;
        Ok(then(op, value))
    });
    result.expect("room for a test's value")
}

fn round_trips(heap: &Heap, plain: &Plain) {
    let back = stored(heap, &plain.scalar(), |op, value| Plain::read(op, value).expect("no container"));
    assert_eq!(back, *plain);
}

#[test]
fn every_value_comes_back_as_it_was() {
    let heap = calm_heap();
    let mut values = vec![Plain::None, Plain::Bool(true), Plain::Bool(false)];
    for bits in 0..200 {
        // On a 127-bit integer, shifting keeps the sign.
        for around in [-1, 0, 1] {
            let value = (1_i128 << (bits % 126)) + around;
            values.extend([Plain::int(value), Plain::int(-value)]);
        }
    }
    for float in [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-320] {
        values.push(Plain::float(float));
    }
    for length in [0, 1, 6, 7, 8, 9, 39, 40, 41, 63, 64, 65, 1000, 300_000] {
        values.extend([Plain::Str(vec![b'x'; length]), Plain::Bytes(vec![0xff; length])]);
    }
    // A lone surrogate.
    values.push(Plain::Str(b"before \xed\xa0\x80 after".to_vec()));
    values.iter().for_each(|value| round_trips(&heap, value));
}

#[test]
fn an_int_has_one_form_however_it_is_given() {
    let heap = calm_heap();
    for value in [0, 5, -5, 1 << 60, -(1 << 60), (1 << 60) - 1, i64::MAX, i64::MIN] {
        let mut padded = value.to_le_bytes().to_vec();
        padded.resize(20, if value < 0 { 0xff } else { 0 });
        for scalar in [Scalar::Int(value), Scalar::Big(&value.to_le_bytes()), Scalar::Big(&padded)] {
            let (is_leaf, raw_len) = stored(&heap, &scalar, |op, value| {
                (value.is_ref(), value.as_ref().map_or(0, |object| op.header(object).raw_len()))
            });
            assert_eq!(is_leaf, Value::small_int(value).is_none());
            assert!(raw_len == 0 || raw_len == 8);
        }
    }
}

#[test]
fn equal_short_strings_are_stored_once() {
    let heap = calm_heap();
    let twice = |bytes: &[u8]| {
        let both = heap.run(|op| Ok((Scalar::Str(bytes).materialise(op)?, Scalar::Str(bytes).materialise(op)?)));
        both.map(|(one, other)| one == other).expect("room for a test's strings")
    };
    assert!(twice(b"eight ch") && twice(&[b'x'; SHARED_VALUE_MAX]));
    assert!(!twice(&[b'x'; SHARED_VALUE_MAX + 1]));
}

#[test]
fn scalars_equal_what_python_says() {
    let heap = calm_heap();
    // Each line is a class of equal values.
    let classes = [
        vec![Plain::None],
        vec![Plain::Bool(true), Plain::Int(1), Plain::float(1.0)],
        vec![Plain::Bool(false), Plain::Int(0), Plain::float(0.0), Plain::float(-0.0)],
        vec![Plain::int(1 << 53), Plain::float(9_007_199_254_740_992.0)],
        vec![Plain::int((1 << 53) + 1)],
        vec![Plain::int(i128::from(i64::MAX))],
        vec![Plain::int(1 << 63), Plain::float(9_223_372_036_854_775_808.0)],
        vec![Plain::int(-(1 << 63)), Plain::float(-9_223_372_036_854_775_808.0)],
        vec![Plain::int(1 << 70), Plain::float((1_i128 << 70) as f64)],
        vec![Plain::int((1 << 70) + 1)],
        vec![Plain::float(f64::INFINITY)],
        vec![Plain::float(0.5)],
        vec![Plain::str("short")],
        vec![Plain::Bytes(b"short".to_vec())],
        vec![Plain::str("a longer string")],
        vec![Plain::Bytes(b"a longer string".to_vec())],
        vec![Plain::str("")],
        vec![Plain::Bytes(Vec::new())],
    ];
    for (i, class) in classes.iter().enumerate() {
        for (j, other) in classes.iter().enumerate() {
            for (one, two) in class.iter().flat_map(|one| other.iter().map(move |two| (one, two))) {
                let equal = stored(&heap, &one.scalar(), |op, value| scalar_equals(op, value, &two.scalar()));
                assert_eq!(equal, i == j, "{one:?} == {two:?}");
            }
        }
    }
    let nan = Scalar::Float(f64::NAN);
    assert!(!stored(&heap, &nan, |op, value| scalar_equals(op, value, &nan)));
}

#[test]
fn containers_are_equal_here_to_themselves_only() {
    let heap = calm_heap();
    let (one, other) = (keep(&heap, |op| list::new(op, 0)), keep(&heap, |op| dict::new(op, 0)));
    assert!(stored(&heap, &Scalar::Object(one), |op, value| scalar_equals(op, value, &Scalar::Object(one))));
    assert!(!stored(&heap, &Scalar::Object(one), |op, value| scalar_equals(op, value, &Scalar::Object(other))));
    assert!(!stored(&heap, &Scalar::Object(one), |op, value| scalar_equals(op, value, &Scalar::Str(b"a long string"))));
    assert!(!stored(&heap, &Scalar::Str(b"a long string"), |op, value| scalar_equals(op, value, &Scalar::Object(one))));
}

proptest! {
    #[test]
    fn any_number_comes_back(int: i64, wide: i128, bits: u64) {
        thread_local!(static HEAP: Heap = calm_heap());
        HEAP.with(|heap| {
            round_trips(heap, &Plain::Int(int));
            round_trips(heap, &Plain::int(wide));
            round_trips(heap, &Plain::Float(bits));
        });
    }
}
