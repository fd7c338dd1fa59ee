//! landropic beside what people would use instead of it, on the workloads W1 to W9. See [`benches::versus`].

use benches::versus::{self, args::Args};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    versus::main(Args::parse())
}
