//! Clients of other languages and ages. They are fetched and built when a scene asks for them first, below
//! `target/interop`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apache::Jars;
use crate::workspace;

/// The last release of the client before version 5.
const OLD_VERSION: &str = "4.9.8";

/// `produce` or `consume` on the old Java client.
pub(super) fn old_java(act: &str, home: &Path) -> Result<Command> {
    let class = if act == "produce" { "Produce" } else { "OldPushConsume" };
    let jars = Jars::fetch_client(OLD_VERSION)?;
    let classes = workspace::target().join("interop/classes").join(OLD_VERSION);
    if !classes.join(class).with_extension("class").exists() {
        jars.compile_drivers(&classes, &["Produce", "OldPushConsume"])?;
    }
    let mut java = jars.java(home, 256, &classes);
    java.arg(class);
    Ok(java)
}

/// `produce` or `consume` on the Go client.
pub(super) fn go(program: &str) -> Result<Command> {
    let folder = workspace::target().join("interop/go");
    done(
        "go build",
        Command::new("go")
            .current_dir(workspace::root().join("xtask/interop/go"))
            .arg("build")
            .arg("-o")
            .arg(folder.join(program))
            .arg(format!("./{program}")),
    )?;
    Ok(Command::new(folder.join(program)))
}

/// `produce` or `consume` on the Python client, which stands on the C++ client.
pub(super) fn python(act: &str) -> Result<Command> {
    let sources = workspace::root().join("xtask/interop/python");
    let room = workspace::target().join("interop/python");
    let python = room.join("bin/python");
    if !python.exists() {
        done("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&room))?;
    }
    let installed = Command::new(&python)
        .args(["-c", "import rocketmq.client"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        done("pip install", pip.arg(sources.join("requirements.txt")))?;
    }
    let mut command = Command::new(python);
    command.arg(sources.join("client.py")).arg(act);
    Ok(command)
}

fn done(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{what} could not be started"))?;
    if !status.success() {
        bail!("{what} ended with {status}");
    }
    Ok(())
}
