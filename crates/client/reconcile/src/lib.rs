//! Work queues, plans and their executor.
