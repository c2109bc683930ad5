// NTSTATUS codes that monitored programs often get; from ntstatus.h.
const ntStatus: Record<string, string> = {
  "0": "success",
  "259": "pending",
  "-2147483643": "BUFFER_OVERFLOW",
  "-2147483642": "NO_MORE_FILES",
  "-1073741820": "INFO_LENGTH_MISMATCH",
  "-1073741819": "ACCESS_VIOLATION",
  "-1073741816": "INVALID_HANDLE",
  "-1073741811": "INVALID_PARAMETER",
  "-1073741809": "NO_SUCH_FILE",
  "-1073741807": "END_OF_FILE",
  "-1073741790": "ACCESS_DENIED",
  "-1073741789": "BUFFER_TOO_SMALL",
  "-1073741772": "OBJECT_NAME_NOT_FOUND",
  "-1073741771": "OBJECT_NAME_COLLISION",
  "-1073741766": "OBJECT_PATH_NOT_FOUND",
  "-1073741757": "SHARING_VIOLATION",
  "-1073741670": "INSUFFICIENT_RESOURCES",
  "-1073741637": "NOT_SUPPORTED",
  "-1073741515": "DLL_NOT_FOUND",
};

/** The name of an NTSTATUS code, a signed number of 32 bits; undefined if it is not a frequent one. */
export function ntName(status: number): string | undefined {
  return ntStatus[status];
}

/** The code as Microsoft writes it: 0xC0000034. */
export function ntHex(status: number): string {
  return `0x${(status >>> 0).toString(16).toUpperCase().padStart(8, "0")}`;
}
