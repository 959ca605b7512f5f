"""Do two backends compute the same?"""
