"""Programs that time and measure; each writes a table into results/ and says how it was made."""
