//! ObjectMeta, quantities, selectors, Status and the `Object` trait that every kind implements.
