//! The program.

#[allow(dead_code)]
mod apps;

fn main() {}
