//! `causeway`: one program for every role and for the operator.

fn main() {}
