//! Publishing: committed rows go to the queue, and leave the outbox on a positive confirm of a routed message.

pub mod in_hand;
