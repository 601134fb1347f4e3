-- Migration: 20260118000004_projects.sql

-- Here and not with the other triggers (where the PRD has it, and where it is created again),
-- because the trigger below needs it.
CREATE OR REPLACE FUNCTION update_updated_at()
RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
  NEW.updated_at = NOW();
  RETURN NEW;
END;
$$;

CREATE TABLE projects (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id UUID NOT NULL REFERENCES auth.users(id) ON DELETE CASCADE,
  title TEXT NOT NULL,
  prompt_text TEXT NOT NULL,
  niche_preset TEXT NOT NULL,
  target_minutes INTEGER NOT NULL DEFAULT 1,
  voice_profile_id UUID,
  transcript_mode TEXT DEFAULT 'auto',
  transcript_text TEXT,
  settings JSONB DEFAULT '{}',
  created_at TIMESTAMPTZ DEFAULT NOW(),
  updated_at TIMESTAMPTZ DEFAULT NOW(),
  
  -- Constraints
  CONSTRAINT projects_niche_check CHECK (
    niche_preset IN ('motivation', 'explainer', 'facts', 'history', 'finance', 'science')
  ),
  CONSTRAINT projects_minutes_check CHECK (
    target_minutes BETWEEN 1 AND 10
  ),
  CONSTRAINT projects_transcript_mode_check CHECK (
    transcript_mode IN ('auto', 'manual')
  )
);

-- Indexes
CREATE INDEX idx_projects_user ON projects(user_id);
CREATE INDEX idx_projects_created ON projects(created_at DESC);

-- RLS
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;

CREATE POLICY projects_all ON projects
  USING (user_id = auth.uid());

-- Trigger for updated_at
CREATE TRIGGER projects_updated_at
  BEFORE UPDATE ON projects
  FOR EACH ROW
  EXECUTE FUNCTION update_updated_at();
