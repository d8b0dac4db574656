//! Zips, for tests.

/// A zip of stored files; those whose text begins with `#!` are executable.
pub fn zip<T: AsRef<[u8]>>(files: &[(&str, T)]) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let text = text.as_ref();
        let crc = crc32fast::hash(text);
        let (size, name_length) = (text.len() as u32, name.len() as u16);
        let offset = out.len() as u32;
        let mut common = Vec::new();
        common.extend([20_u16, 0, 0, 0, 0x5821].map(u16::to_le_bytes).concat());
        common.extend([crc, size, size].map(u32::to_le_bytes).concat());
        common.extend([name_length, 0].map(u16::to_le_bytes).concat());
        out.extend(0x0403_4b50_u32.to_le_bytes());
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(text);
        let mode: u32 = if text.starts_with(b"#!") { 0o100_755 } else { 0o100_644 };
        central.extend(0x0201_4b50_u32.to_le_bytes());
        central.extend((3_u16 << 8 | 20).to_le_bytes());
        central.extend(&common);
        central.extend([0_u16, 0, 0].map(u16::to_le_bytes).concat());
        central.extend([mode << 16, offset].map(u32::to_le_bytes).concat());
        central.extend(name.as_bytes());
    }
    let (start, length) = (out.len() as u32, central.len() as u32);
    out.extend(&central);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    out.extend([0, 0, files.len() as u16, files.len() as u16].map(u16::to_le_bytes).concat());
    out.extend([length, start].map(u32::to_le_bytes).concat());
    out.extend(0_u16.to_le_bytes());
    out
}
