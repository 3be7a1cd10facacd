//! One folder for each controller.
