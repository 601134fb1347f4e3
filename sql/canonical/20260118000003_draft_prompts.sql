-- Migration: 20260118000003_draft_prompts.sql

CREATE TABLE draft_prompts (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  session_token TEXT NOT NULL,
  user_id UUID REFERENCES auth.users(id) ON DELETE CASCADE,
  prompt_text TEXT NOT NULL,
  template_id TEXT,
  options JSONB DEFAULT '{}',
  created_at TIMESTAMPTZ DEFAULT NOW(),
  updated_at TIMESTAMPTZ DEFAULT NOW(),
  expires_at TIMESTAMPTZ DEFAULT NOW() + INTERVAL '7 days'
);

-- Indexes
CREATE INDEX idx_draft_session ON draft_prompts(session_token);
CREATE INDEX idx_draft_user ON draft_prompts(user_id) WHERE user_id IS NOT NULL;
CREATE INDEX idx_draft_expires ON draft_prompts(expires_at);

-- RLS
ALTER TABLE draft_prompts ENABLE ROW LEVEL SECURITY;

-- Anyone can create a draft (for pre-auth)
CREATE POLICY draft_insert ON draft_prompts
  FOR INSERT WITH CHECK (true);

-- Users can read their own drafts
CREATE POLICY draft_select ON draft_prompts
  FOR SELECT USING (
    user_id = auth.uid() OR 
    session_token = current_setting('app.session_token', true)
  );

-- Users can update their own drafts
CREATE POLICY draft_update ON draft_prompts
  FOR UPDATE USING (
    user_id = auth.uid() OR 
    (user_id IS NULL AND session_token = current_setting('app.session_token', true))
  );
