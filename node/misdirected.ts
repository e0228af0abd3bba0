/** The error of a redirect that leads nowhere. A retry would fail in the same way. */
export class Misdirected extends Error {
  override readonly name = 'Misdirected'
}
