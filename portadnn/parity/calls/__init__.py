"""Calls of the array API that other code makes: recorded, and certified one by one."""
