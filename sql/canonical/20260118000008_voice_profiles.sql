-- Migration: 20260118000008_voice_profiles.sql

CREATE TABLE voice_profiles (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id UUID NOT NULL REFERENCES auth.users(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  audio_path TEXT NOT NULL,
  provider TEXT DEFAULT 'custom',
  voice_id TEXT,
  settings JSONB DEFAULT '{}',
  created_at TIMESTAMPTZ DEFAULT NOW()
);

-- Indexes
CREATE INDEX idx_voice_profiles_user ON voice_profiles(user_id);

-- RLS
ALTER TABLE voice_profiles ENABLE ROW LEVEL SECURITY;

CREATE POLICY voice_profiles_all ON voice_profiles
  USING (user_id = auth.uid());

-- Add foreign key to projects
ALTER TABLE projects
  ADD CONSTRAINT projects_voice_profile_fk
  FOREIGN KEY (voice_profile_id) REFERENCES voice_profiles(id) ON DELETE SET NULL;
