"""One public function per stage; orchestration only."""
