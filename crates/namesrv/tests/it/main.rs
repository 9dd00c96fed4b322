//! The name server over real connections.

#[cfg(test)]
mod lacking;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod stage;
