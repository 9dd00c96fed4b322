//! Body codecs. Producers compress, brokers store what they get, consumers decompress.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::sys_flag;

/// A codec of message bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// LZ4 frame format.
    Lz4,
    /// Zstandard.
    Zstd,
    /// zlib; also what old clients mean when they name no codec.
    #[default]
    Zlib,
}

/// Why a body could not be coded.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The result would be longer than allowed.
    #[error("the body would be longer than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The bytes are not of that codec.
    #[error("the body is not {codec:?} data")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// The flags name a codec that is not known or not built in.
    #[error("the body's codec {code} is not supported")]
    Unsupported {
        /// Number of the codec in the flags.
        code: i32,
    },
}

impl Codec {
    /// The codec that the flags of a compressed message name.
    pub fn of(sys_flag: i32) -> Result<Self, CodecError> {
        match (sys_flag & sys_flag::COMPRESSION_MASK) >> 8 {
            0 | 3 => Ok(Self::Zlib),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Zstd),
            code => Err(CodecError::Unsupported { code }),
        }
    }

    /// The flag bits of a message compressed with this codec.
    pub fn flags(self) -> i32 {
        sys_flag::COMPRESSED
            | match self {
                Self::Lz4 => 0x100,
                Self::Zstd => 0x200,
                Self::Zlib => 0x300,
            }
    }

    /// Compresses a body. `level` is that of zlib and zstd.
    pub fn compress(self, body: &[u8], level: u32) -> Result<Vec<u8>, CodecError> {
        let malformed = |source| CodecError::Malformed { codec: self, source };
        match self {
            Self::Zlib => {
                let out = Vec::with_capacity(body.len() / 2);
                let mut encoder =
                    flate2::write::ZlibEncoder::new(out, flate2::Compression::new(level.min(9)));
                encoder.write_all(body).and_then(|()| encoder.finish()).map_err(malformed)
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(body).map_err(malformed)?;
                encoder.finish().map_err(|e| malformed(io::Error::other(e)))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                zstd::stream::encode_all(body, i32::try_from(level).unwrap_or(3)).map_err(malformed)
            }
            #[cfg(not(feature = "zstd"))]
            Self::Zstd => Err(CodecError::Unsupported { code: 2 }),
        }
    }

    /// Decompresses a body of at most `max` bytes: whatever the data claim, not more is ever
    /// allocated.
    pub fn decompress(self, data: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Zlib => self.read_all(flate2::read::ZlibDecoder::new(data), max),
            Self::Lz4 => self.read_all(lz4_flex::frame::FrameDecoder::new(data), max),
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(data)
                    .map_err(|source| CodecError::Malformed { codec: self, source })?;
                self.read_all(decoder, max)
            }
            #[cfg(not(feature = "zstd"))]
            Self::Zstd => Err(CodecError::Unsupported { code: 2 }),
        }
    }

    fn read_all(self, decoder: impl Read, max: usize) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        let mut bounded = decoder.take(max as u64 + 1);
        bounded
            .read_to_end(&mut out)
            .map_err(|source| CodecError::Malformed { codec: self, source })?;
        if out.len() > max { Err(CodecError::TooLong { max }) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let body = b"to be or not to be ".repeat(300);
        for codec in [Codec::Lz4, Codec::Zlib, Codec::Zstd] {
            let packed = codec.compress(&body, 5).unwrap();
            assert!(packed.len() < body.len() / 2);
            assert_eq!(codec.decompress(&packed, 1 << 20).unwrap(), body);
            assert_eq!(Codec::of(codec.flags()).unwrap(), codec);
            assert!(codec.decompress(&body, 1 << 20).is_err());
        }
        assert_eq!(Codec::of(sys_flag::COMPRESSED).unwrap(), Codec::Zlib);
        assert!(Codec::of(0x700).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = vec![0; 64 << 20];
        for codec in [Codec::Lz4, Codec::Zlib, Codec::Zstd] {
            let packed = codec.compress(&bomb, 5).unwrap();
            assert!(matches!(codec.decompress(&packed, 1 << 20), Err(CodecError::TooLong { .. })));
        }
    }
}
