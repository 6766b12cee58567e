//! Where settings come from: a file, the process' variables, flags.

use std::path::Path;

use super::file;
use super::layers::{self, Layer, Problems};
use super::settings::Settings;

/// The settings from a file, the process' variables and the flags.
pub fn resolve(config: Option<&Path>, flags: Layer) -> Result<Settings, Problems> {
    let file = match config {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Problems(vec![format!("cannot read {name}: {error}")]))?;
            file::read(&name, &text)
        }
        None => Layer::default(),
    };
    layers::resolve([file, Layer::from_variables(std::env::vars_os()), flags])
}
