//! The program from outside, and servers in this process.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod name_server;
#[cfg(test)]
mod program;
mod store_tool;
