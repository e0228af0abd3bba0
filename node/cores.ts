/**
 * Chooses the number of compute threads: performance cores only, since a pass waits for its slowest
 * thread.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'

/** More threads gain little on small models, and take the machine from its user. */
const most = 4

export function defaultThreads(): number {
  return Math.max(1, Math.min(most, performanceCores(), os.availableParallelism()))
}

/**
 * Returns the number of fast physical cores of this machine; all cores if nothing better is known.
 */
export function performanceCores(): number {
  const known = os.platform() === 'darwin' ? appleCores() : os.platform() === 'linux' ? linuxCores() : undefined
  return known ?? os.availableParallelism()
}

function appleCores(): number | undefined {
  try {
    const text = execFileSync('sysctl', ['-n', 'hw.perflevel0.physicalcpu'], { encoding: 'utf8', timeout: 500 })
    return Number.parseInt(text, 10) || undefined
  } catch {
    return undefined
  }
}

/** Counts physical cores within 80 % of the highest capacity or clock that the kernel reports. */
function linuxCores(): number | undefined {
  const cores = new Map<string, number>()
  for (let cpu = 0; cpu < os.cpus().length; cpu++) {
    const at = `/sys/devices/system/cpu/cpu${cpu}`
    const core = `${read(`${at}/topology/physical_package_id`) ?? 0}.${read(`${at}/topology/core_id`) ?? cpu}`
    const speed = Number(read(`${at}/cpu_capacity`) ?? read(`${at}/cpufreq/cpuinfo_max_freq`) ?? 1)
    cores.set(core, Math.max(cores.get(core) ?? 0, speed))
  }
  if (cores.size === 0) return undefined
  const fastest = Math.max(...cores.values())
  return [...cores.values()].filter((speed) => speed >= 0.8 * fastest).length
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}
