//! Producer ids that a shard has taken and not given out yet.

use std::cell::RefCell;
use std::ops::Range;

/// What is left of a block. Shard-owned. What is left at the end is lost: ids are plenty.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: RefCell<Range<i64>>,
}

impl ProducerIds {
    /// An id, if the block has one left.
    pub(crate) fn next(&self) -> Option<i64> {
        self.block.borrow_mut().next()
    }

    /// Takes a new block and gives an id of it. Two requests may each have asked for a block: the
    /// rest of the earlier one is lost.
    pub(crate) fn refill(&self, block: Range<i64>) -> Option<i64> {
        *self.block.borrow_mut() = block;
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_a_block_is_given_out_once() {
        let ids = ProducerIds::default();
        assert_eq!(ids.next(), None);
        assert_eq!(ids.refill(5..7), Some(5));
        assert_eq!(ids.next(), Some(6));
        assert_eq!(ids.next(), None);
        assert_eq!(ids.refill(9..9), None);
    }
}
