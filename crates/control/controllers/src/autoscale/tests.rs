//! Looks at autoscalers, scripted.
