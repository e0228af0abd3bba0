/**
 * Finds grapheme clusters, what a reader takes for one character, by the rules of UAX #29 for extended
 * clusters. `Intl.Segmenter` makes an object for each and is not in every runtime.
 */

const Kind = {
  Other: 0,
  Cr: 1,
  Lf: 2,
  Control: 3,
  Extend: 4,
  /** U+200C extends a cluster, but no conjunct. */
  NonJoiner: 5,
  Linker: 6,
  Joiner: 7,
  Spacing: 8,
  Prepend: 9,
  Regional: 10,
  Pictograph: 11,
  Consonant: 12,
  L: 13,
  V: 14,
  T: 15,
  Lv: 16,
  Lvt: 17,
} as const

// JavaScript has no property for these of Unicode 17.
const prepended =
  /[\u{600}-\u{605}\u{6DD}\u{70F}\u{890}\u{891}\u{8E2}\u{D4E}\u{110BD}\u{110CD}\u{111C2}\u{111C3}\u{113D1}\u{1193F}\u{11941}\u{11A84}-\u{11A89}\u{11D46}\u{11F02}]/u
const linkers =
  /[\u{94D}\u{9CD}\u{ACD}\u{B4D}\u{C4D}\u{D4D}\u{1039}\u{17D2}\u{1A60}\u{1B44}\u{1BAB}\u{A9C0}\u{AAF6}\u{10A3F}\u{11133}\u{113D0}\u{1193E}\u{11A47}\u{11A99}\u{11F42}]/u
const consonants =
  /[\u{915}-\u{939}\u{958}-\u{95F}\u{978}-\u{97F}\u{995}-\u{9A8}\u{9AA}-\u{9B0}\u{9B2}\u{9B6}-\u{9B9}\u{9DC}\u{9DD}\u{9DF}\u{9F0}\u{9F1}\u{A95}-\u{AA8}\u{AAA}-\u{AB0}\u{AB2}\u{AB3}\u{AB5}-\u{AB9}\u{AF9}\u{B15}-\u{B28}\u{B2A}-\u{B30}\u{B32}\u{B33}\u{B35}-\u{B39}\u{B5C}\u{B5D}\u{B5F}\u{B71}\u{C15}-\u{C28}\u{C2A}-\u{C39}\u{C58}-\u{C5A}\u{D15}-\u{D3A}\u{1000}-\u{102A}\u{103F}\u{1050}-\u{1055}\u{105A}-\u{105D}\u{1061}\u{1065}\u{1066}\u{106E}-\u{1070}\u{1075}-\u{1081}\u{108E}\u{1780}-\u{17B3}\u{1A20}-\u{1A54}\u{1B0B}\u{1B0C}\u{1B13}-\u{1B33}\u{1B45}-\u{1B4C}\u{1B83}-\u{1BA0}\u{1BAE}\u{1BAF}\u{1BBB}-\u{1BBD}\u{A989}-\u{A98B}\u{A98F}-\u{A9B2}\u{A9E0}-\u{A9E4}\u{A9E7}-\u{A9EF}\u{A9FA}-\u{A9FE}\u{AA60}-\u{AA6F}\u{AA71}-\u{AA73}\u{AA7A}\u{AA7E}\u{AA7F}\u{AAE0}-\u{AAEA}\u{ABC0}-\u{ABDA}\u{10A00}\u{10A10}-\u{10A13}\u{10A15}-\u{10A17}\u{10A19}-\u{10A35}\u{11103}-\u{11126}\u{11144}\u{11147}\u{11380}-\u{11389}\u{1138B}\u{1138E}\u{11390}-\u{113B5}\u{11900}-\u{11906}\u{11909}\u{1190C}-\u{11913}\u{11915}\u{11916}\u{11918}-\u{1192F}\u{11A00}\u{11A0B}-\u{11A32}\u{11A50}\u{11A5C}-\u{11A83}\u{11F04}-\u{11F10}\u{11F12}-\u{11F33}]/u
/** Spacing marks that break a cluster. */
const apart =
  /[\u{102B}\u{102C}\u{1038}\u{1062}-\u{1064}\u{1067}-\u{106D}\u{1083}\u{1087}-\u{108C}\u{108F}\u{109A}-\u{109C}\u{1A61}\u{1A63}\u{1A64}\u{AA7B}\u{AA7D}\u{11720}\u{11721}]/u
const extending = /[\p{Grapheme_Extend}\p{Emoji_Modifier}]/u
const spacing = /[\p{Mc}\u{E33}\u{EB3}]/u
const controls = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|(?=\p{Cn})\p{Default_Ignorable_Code_Point}/u
const pictographs = /\p{Extended_Pictographic}/u

/** Every cluster of several characters of up to five bytes of UTF-8 has one of these. */
const joining = new RegExp(`\\r\\n|\\u200D|${extending.source}|${spacing.source}|${prepended.source}`, 'u')

/** Returns whether a text may have clusters of several characters that have at most five bytes of UTF-8. */
export function mayJoin(text: string): boolean {
  return joining.test(text)
}

/** Returns where the cluster that begins at `from` ends. */
export function clusterEnd(text: string, from: number): number {
  let point = text.codePointAt(from) ?? 0
  let end = from + sizeOf(point)
  let before = kindOf(point)
  // 1 after a pictograph and what extends it, 2 after a joiner behind these.
  let pictograph = before === Kind.Pictograph ? 1 : 0
  // 1 after a consonant and what extends it, 2 after a linker among these.
  let conjunct = before === Kind.Consonant ? 1 : 0
  let flags = before === Kind.Regional ? 1 : 0
  while (end < text.length) {
    point = text.codePointAt(end) ?? 0
    const kind = kindOf(point)
    const joined =
      joins(before, kind) ||
      (kind === Kind.Consonant && conjunct === 2) ||
      (kind === Kind.Pictograph && pictograph === 2) ||
      (kind === Kind.Regional && before === Kind.Regional && flags % 2 === 1)
    if (!joined) break
    const isExtending = kind >= Kind.Extend && kind <= Kind.Linker
    if (kind === Kind.Pictograph) pictograph = 1
    else if (pictograph === 1 && kind === Kind.Joiner) pictograph = 2
    else if (pictograph !== 1 || !isExtending) pictograph = 0
    if (kind === Kind.Consonant) conjunct = 1
    else if (kind === Kind.Linker) conjunct = conjunct > 0 ? 2 : 0
    else if (kind !== Kind.Extend && kind !== Kind.Joiner) conjunct = 0
    flags = kind === Kind.Regional ? flags + 1 : 0
    before = kind
    end += sizeOf(point)
  }
  return end
}

/** Rules GB3 to GB9b, which need only the two characters around a place. */
function joins(before: number, after: number): boolean {
  if (before === Kind.Cr && after === Kind.Lf) return true
  if (before >= Kind.Cr && before <= Kind.Control) return false
  if (after >= Kind.Cr && after <= Kind.Control) return false
  if (after >= Kind.Extend && after <= Kind.Spacing) return true
  if (before === Kind.Prepend) return true
  switch (before) {
    case Kind.L:
      return after === Kind.L || after === Kind.V || after === Kind.Lv || after === Kind.Lvt
    case Kind.Lv:
    case Kind.V:
      return after === Kind.V || after === Kind.T
    case Kind.Lvt:
    case Kind.T:
      return after === Kind.T
    default:
      return false
  }
}

function kindOf(point: number): number {
  if (point < 0x300) return kindOfLatin(point)
  if ((point >= 0x3400 && point < 0xa000) || (point >= 0x20000 && point < 0xe0000)) return Kind.Other
  const hangul = hangulOf(point)
  if (hangul !== undefined) return hangul
  if (point >= 0x1f1e6 && point <= 0x1f1ff) return Kind.Regional
  if (point === 0x200c) return Kind.NonJoiner
  if (point === 0x200d) return Kind.Joiner
  const character = String.fromCodePoint(point)
  if (linkers.test(character)) return Kind.Linker
  if (extending.test(character)) return Kind.Extend
  if (consonants.test(character)) return Kind.Consonant
  if (prepended.test(character)) return Kind.Prepend
  if (spacing.test(character)) return apart.test(character) ? Kind.Other : Kind.Spacing
  if (pictographs.test(character)) return Kind.Pictograph
  return controls.test(character) ? Kind.Control : Kind.Other
}

function kindOfLatin(point: number): number {
  if (point === 0x0d) return Kind.Cr
  if (point === 0x0a) return Kind.Lf
  if (point < 0x20 || (point >= 0x7f && point < 0xa0) || point === 0xad) return Kind.Control
  return point === 0xa9 || point === 0xae ? Kind.Pictograph : Kind.Other
}

function hangulOf(point: number): number | undefined {
  if ((point >= 0x1100 && point <= 0x115f) || (point >= 0xa960 && point <= 0xa97c)) return Kind.L
  if ((point >= 0x1160 && point <= 0x11a7) || (point >= 0xd7b0 && point <= 0xd7c6)) return Kind.V
  if ((point >= 0x11a8 && point <= 0x11ff) || (point >= 0xd7cb && point <= 0xd7fb)) return Kind.T
  if (point >= 0xac00 && point <= 0xd7a3) return (point - 0xac00) % 28 === 0 ? Kind.Lv : Kind.Lvt
  // Vowels of Kirat Rai join as those of Hangul.
  return point === 0x16d63 || (point >= 0x16d67 && point <= 0x16d6a) ? Kind.V : undefined
}

function sizeOf(point: number): number {
  return point > 0xffff ? 2 : 1
}
