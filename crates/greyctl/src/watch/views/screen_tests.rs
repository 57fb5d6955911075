//! Each screen, at each size and look.
