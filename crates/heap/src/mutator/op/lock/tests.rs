use std::sync::atomic::{AtomicBool, Ordering};

use crate::object::dict;
use crate::{Delivery, Heap, Options, Recycle, Retry};

fn heap() -> Heap {
    let options = Options {
        budget_bytes: 64 << 20,
        delivery: Some(Delivery::Pause),
        recycle: Recycle::Pool,
        verify: false,
        stress_bytes: None,
        name: String::from("locks"),
    };
    Heap::new(options).expect("a heap for a test")
}

#[test]
fn a_held_lock_keeps_everybody_out_and_a_claimed_one_who_changes() {
    let heap = heap();
    let run = |op: &mut super::Op<'_>| {
        let mut object = dict::new(op, 0)?;
        let again = &mut object.clone();
        op.locked(&mut object, |op, _| {
            assert_eq!(op.reading(again, |_, _| Ok(())), Err(Retry::Busy));
            assert_eq!(op.locked(again, |_, _| Ok(())), Err(Retry::Busy));
            assert_eq!(op.claimed(again, |_, _| Ok(())), Err(Retry::Busy));
            Ok(())
        })?;
        op.reading(&mut object, |op, _| {
            assert_eq!(op.reading(again, |_, _| Ok(())), Err(Retry::Busy));
            assert_eq!(op.claimed(again, |_, _| Ok(())), Err(Retry::Busy));
            Ok(())
        })?;
        op.claimed(&mut object, |op, _| {
            assert_eq!(op.reading(again, |_, _| Ok(7)), Ok(7));
            assert_eq!(op.reading(again, |_, _| Ok(8)), Ok(8));
            assert_eq!(op.locked(again, |_, _| Ok(())), Err(Retry::Busy));
            assert_eq!(op.claimed(again, |_, _| Ok(())), Err(Retry::Busy));
            op.commit(&mut [*again], |op, refs| {
                assert_eq!(op.reading(&mut refs[0], |_, _| Ok(())), Err(Retry::Busy));
            });
            Ok(())
        })?;
        // All of them were given back.
        op.locked(&mut object, |_, _| Ok(()))
    };
    heap.run(run).expect("an open heap");
}

#[test]
fn a_claim_that_ends_while_a_reader_holds_the_lock_ends_all_the_same() {
    let heap = heap();
    let run = |op: &mut super::Op<'_>| {
        let object = dict::new(op, 0)?;
        op.claimed(&mut object.clone(), |op, _| {
            // As another thread would: it holds the lock when the claim ends, and gives it back later.
            let before = op.set_lock(object, super::HELD, super::HELD).expect("a lock that nobody holds");
            assert_eq!(before & super::CLAIMED, super::CLAIMED);
            Ok(())
        })?;
        assert_eq!(op.locked(&mut object.clone(), |_, _| Ok(())), Err(Retry::Busy));
        op.lock_word(object).fetch_and(!super::HELD, Ordering::Release);
        op.locked(&mut object.clone(), |_, _| Ok(()))
    };
    heap.run(run).expect("an open heap");
}

#[test]
fn changes_are_counted_and_nothing_else() {
    let heap = heap();
    let run = |op: &mut super::Op<'_>| {
        let mut object = dict::new(op, 0)?;
        assert_eq!(op.changes(object), 0);
        op.reading(&mut object, |_, _| Ok(()))?;
        op.claimed(&mut object, |_, _| Ok(()))?;
        assert_eq!(op.locked(&mut object, |_, _| Err::<(), _>(Retry::Handles)), Err(Retry::Handles));
        assert_eq!(op.changes(object), 0);
        op.locked(&mut object, |_, _| Ok(()))?;
        assert_eq!(op.changes(object), 1);
        op.claimed(&mut object, |op, object| {
            op.commit(&mut [*object], |_, _| ());
            Ok(())
        })?;
        assert_eq!(op.changes(object), 2);
        Ok(())
    };
    heap.run(run).expect("an open heap");
}

#[test]
fn what_takes_long_is_not_begun_by_who_must_be_brief() {
    let heap = heap();
    let long = |op: &mut super::Op<'_>| op.about_to_touch(super::LONG_MIN + 1);
    let short = |op: &mut super::Op<'_>| op.about_to_touch(super::LONG_MIN);
    assert!(matches!(heap.attempt_briefly(long), Err(crate::Stalled::Retry(Retry::Long))));
    assert!(heap.attempt_briefly(short).is_ok());
    assert!(heap.attempt(long).is_ok());
}

/// The committing thread waits for readers, and those for the collector, which waits for nobody.
#[test]
fn a_commit_gets_through_while_others_read_and_the_collector_works() {
    let heap = heap();
    let made = heap.run(|op| {
        let dict = dict::new(op, 0)?;
        op.handle_new(dict)
    });
    let dict = made.expect("room for a dict");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    heap.run(|op| dict::len(op, op.handle_get(dict))).expect("an open heap");
                }
            });
        }
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                heap.collect().expect("an open heap");
            }
        });
        for committed in 1..=500 {
            let changes = heap.run(|op| {
                let mut object = op.handle_get(dict);
                op.claimed(&mut object, |op, object| {
                    let mut refs = [*object];
                    op.poll(&mut refs);
                    op.commit(&mut refs, |_, _| ());
                    *object = refs[0];
                    Ok(op.changes(*object))
                })
            });
            assert_eq!(changes.expect("an open heap"), committed);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}
